"""Run the migrations on the connection that `database` hands over."""

from alembic import context

from aftercar.ward.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
