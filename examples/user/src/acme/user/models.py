"""Users, the groups they are in, and the base class that all packages' models share."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime, ForeignKey, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from websauna_migrate import migration_package


@migration_package()
class Base(DeclarativeBase):
    """Base class of the models.

    Foreign keys between packages need one MetaData, so the other packages' models have this base
    class too. Each table still belongs to the package that its class is in.
    """

    # A constraint needs a name for a later migration to be able to drop it.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# It has no class of its own, so it belongs to the package of the class that uses it as secondary.
users_groups = Table(
    "users_groups",
    Base.metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
)


class User(Base):
    """Somebody who can sign in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    # The default is for older code, which serves on during an upgrade and does not fill the column.
    display_name: Mapped[str] = mapped_column(String(254), server_default="Somebody")
    last_login_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    groups: Mapped[list[Group]] = relationship(secondary=users_groups, back_populates="users")


class Group(Base):
    """A named set of users."""

    __tablename__ = "groups"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)

    users: Mapped[list[User]] = relationship(secondary=users_groups, back_populates="groups")
