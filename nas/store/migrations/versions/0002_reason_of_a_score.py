"""Why a predictor gave an architecture no score."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("score", sa.Column("reason", sa.Text(), nullable=True))
