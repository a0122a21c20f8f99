"""KVM hosts through libvirt: the hypervisor itself, its networks, pools and volumes, domains, and fleets of them."""
