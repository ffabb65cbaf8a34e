"""How Alembic reaches the database: by the engine that `migrate` hands over."""

from alembic import context

from edgefleet_server.store.schema import metadata

with context.config.attributes["engine"].begin() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
