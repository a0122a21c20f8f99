vmlinuz initrd=initrd console=ttyS0 quiet panic=1 clocksource=acpi_pm no_timer_check cryptomgr.notests nokaslr mitigations=off
