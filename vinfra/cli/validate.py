"""`vinfra validate`."""

from vinfra.cli.commands import new_app
from vinfra.cli.options import Blueprint, Extra, Inventory, Json, Site, VarFiles, request

app = new_app()


@app.command()
def validate(
    blueprint: Blueprint,
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    site: Site = None,
    json: Json = False,
) -> int:
    """Check a blueprint, its inventory and the site file without connecting to anything. Tells every problem."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.report.as_json import wish_document
    from vinfra.report.visible import several, visible

    wish = engine.validate(request(blueprint, inventory, extra, var_files, site=site))
    hosts = sorted({resource.address.host for resource in wish.resources} - {""})
    count = f"{several(len(hosts), 'host')}, {several(len(wish.resources), 'resource')}"
    output = Output(json)
    output.text(f"{visible(wish.blueprint.name)} · {count}: valid.")
    output.document(wish_document(wish.blueprint.name, wish.blueprint.files, hosts, wish.resources))
    return 0
