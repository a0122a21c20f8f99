"""The table of commands. A command's module is imported when that command is asked for, not before."""

from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from vinfra.errors import ExitCode, VinfraError

# Section, command and its line in `vinfra --help`; the module has the command's name and holds `app`.
COMMANDS: dict[str, dict[str, str]] = {
    "Look": {
        "validate": "Check a blueprint without connecting to anything.",
        "plan": "Show what apply would do.",
        "drift": "Show what is not as the blueprint says.",
        "facts": "Show what hosts tell of themselves.",
        "inventory": "The hosts of an inventory, for people or as Ansible reads them.",
        "status": "Hosts, their virtual machines and addresses, at a glance.",
        "owners": "Which blueprint owns what, and who applied it when.",
        "unmanaged": "What no blueprint owns.",
        "import": "Write a blueprint of what is on a host.",
        "graph": "Draw what comes before what.",
    },
    "Change": {
        "apply": "Make it so.",
        "destroy": "Remove what this blueprint created.",
        "adopt": "Take over what is there already.",
        "evacuate": "Carry the machines of a host to others, as they run.",
        "retire": "Give up a host that leaves the inventory.",
        "maintain": "Patch hosts and restart those that need it, a batch at a time.",
        "lab": "Throw-away hosts on this machine to try things on.",
    },
    "Machines": {
        "start": "Start virtual machines.",
        "stop": "Shut virtual machines down, by their own system.",
        "reboot": "Restart virtual machines, by their own system.",
        "snapshot": "Moments of a virtual machine to go back to.",
        "backup": "Save a virtual machine, also while it runs.",
        "restore": "Make a virtual machine from its backup.",
        "ssh": "A login on a virtual machine, or one command there.",
        "console": "The serial console of a virtual machine.",
    },
    "Know": {
        "explain": "What a kind or one of its fields means.",
        "schema": "JSON Schemas for editors.",
        "runs": "What was run from here, and how it ended.",
        "version": "Which vinfra this is.",
    },
}
SUMMARIES = {name: summary for section in COMMANDS.values() for name, summary in section.items()}


class Interrupted(VinfraError):
    """Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


class Commands(TyperGroup):
    """A group whose commands are stubs until one is resolved, so that help and completion stay quick."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        stubs = {name: TyperCommand(name, help=text, rich_markup_mode=None) for name, text in SUMMARIES.items()}
        self.commands: MutableMapping[str, Any] = {**self.commands, **stubs}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command as ever, then put the real one in place of its stub."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in SUMMARIES else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Ctrl-C is one of our errors, so that it too can be told as JSON."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands in sections."""
        for section, commands in COMMANDS.items():
            with formatter.section(typer.style(section, bold=True)):
                formatter.write_dl(list(commands.items()), col_max=12)


def load(name: str) -> Any:
    """The real command."""
    app: typer.Typer = import_module(f"vinfra.cli.{name}").app
    app.rich_markup_mode = None
    command = get_command(app)
    command.name = name
    return command


def new_app(**settings: Any) -> typer.Typer:
    """A typer app in our manner: plain help (rich's takes four times as long), and errors left to `main`."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **settings,
    )
