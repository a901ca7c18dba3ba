"""What the API gives as `/v1/cluster`."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from dispatcher.api.cluster import ClusterView, MemberState, PartitionState
from dispatcher.api.fields import InstantOut
from dispatcher.api.models import Output, attributes


class MemberOut(Output):
    """A node of a cluster; without one, a process of the server."""

    number: int
    node: str = Field(description="Its name: that of the host, where `NODE` says nothing else.")
    address: str | None = Field(
        description="Where other nodes reach it; null of a process of this machine."
    )
    state: MemberState = Field(description="`away`: it does not answer, and was not stopped.")
    since: InstantOut | None = Field(
        validation_alias="since_us", description="Since when, as far as is known."
    )
    has_api: bool = Field(description="It is the one that answers this.")
    partitions: list[int] = Field(description="Those that it has.")


class PartitionOut(Output):
    """A partition: a log of its own, and what lies in it."""

    number: int
    owner: int | None = Field(
        description="The number of the member that has it, or had it last where that is away; "
        "null: nobody."
    )
    state: PartitionState
    since: InstantOut | None = Field(
        validation_alias="since_us", description="Since when, as far as is known."
    )
    epoch: int | None = Field(
        description="Another and higher one with each owner; null where there can be no other."
    )
    position: int | None = Field(
        description="Where its log ends, in the log's own count; null where its owner does not say."
    )
    late_ms: int | None = Field(
        description="For how long the batch under way has been with the log: 0 where none is."
    )
    why: str = Field(description="What keeps it from being opened, where its state is `failed`.")


class ClusterOut(Output):
    """Who does the work, and who has which partition."""

    cluster: bool = Field(
        description="Whether members are nodes of a cluster; else they are processes of one server."
    )
    members: list[MemberOut]
    partitions: list[PartitionOut]

    @classmethod
    def of(cls, view: ClusterView) -> Self:
        """From what the server knows."""
        owned: dict[int, list[int]] = {member.number: [] for member in view.members}
        for one in view.partitions:
            if one.owner is not None:
                owned.setdefault(one.owner, []).append(one.number)
        members = [
            {**attributes(member), "partitions": owned[member.number]} for member in view.members
        ]
        return cls.model_validate(
            {"cluster": view.is_cluster, "members": members, "partitions": view.partitions}
        )
