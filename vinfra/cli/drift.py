"""`vinfra drift`."""

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    AllHosts,
    Blueprint,
    Extra,
    Forks,
    Full,
    Inventory,
    Json,
    Limit,
    NoPrune,
    Targets,
    VarFiles,
    request,
)

app = new_app()


@app.command()
def drift(
    blueprint: Blueprint,
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    limit: Limit = "",
    target: Targets = None,
    forks: Forks = 50,
    no_prune: NoPrune = False,
    all_hosts: AllHosts = False,
    full: Full = False,
    json: Json = False,
) -> int:
    """Show what is not as the blueprint says. Touches nothing; exit code 2 when something differs."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.report.as_json import plan_document
    from vinfra.report.progress import Progress
    from vinfra.report.terminal import drift_lines

    output = Output(json)
    asked = request(blueprint, inventory, extra, var_files, limit, target, forks, no_prune, all_hosts=all_hosts)
    with Progress(output.progress_console) as progress:
        found = engine.plan(asked, progress)
    output.lines(drift_lines(found, output.width, full))
    output.document(plan_document(found, "drift"))
    return int(found.exit_code)
