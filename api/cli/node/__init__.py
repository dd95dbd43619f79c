"""`concordat node …`: an agency's own work on its registers, by its own staff and beside its running node."""

import typer

from api.cli.node import access, database, entering, looking, sealing, steps, trail

node = typer.Typer(
    help="An agency's own work: registers, steps, deadlines, trail, staff, database.", no_args_is_help=True
)

for command in (
    *(looking.listings, looking.show, looking.find, looking.due, looking.catalogue),
    *(entering.enter, entering.correct, sealing.seal, steps.dispute, steps.erase, database.backup, database.restore),
):
    node.command()(command)
for act, command in steps.COMMANDS.items():
    node.command(act.value)(command)
node.add_typer(trail.trail, name="audit-trail")
node.add_typer(access.staff, name="staff")
node.add_typer(access.subject, name="subject")
node.add_typer(database.database, name="database")
