"""Sync groups: controls on media that play in sync, which are learned together."""

import json
from collections.abc import Sequence
from typing import Any

from framewise.core.errors import ConfigError
from framewise.labeling_config.control_settings import ControlSettings

# Parameters that must be equal in a group, because its annotations are merged.
TAKEN_TOGETHER = ("model_unmarked", "model_marks", "model_group")


def sync_groups(controls: Sequence[ControlSettings]) -> list[list[ControlSettings]]:
    """Groups of controls that learn together, in the order of the config: trainable controls with the default learner on
    several media that play in sync.

    ``sync`` is a name that media share. In older configs it is another tag's name: tags that refer to each other are one group.
    """
    learning = [c for c in controls if c.trainable and c.parameters["model_classifier_type"] == "auto" and c.sync]
    names = {c.to_name: c.sync for c in learning}
    groups: list[tuple[set[str], list[ControlSettings]]] = []
    for control in learning:
        own = {str(control.sync)} | ({control.to_name} if control.to_name in names.values() else set())
        joined = [group for group in groups if group[0] & own]
        groups = [group for group in groups if not group[0] & own]
        members = [member for _, earlier in joined for member in earlier]
        groups.append((own.union(*(texts for texts, _ in joined)), [*members, control]))
    ordered = [sorted(members, key=learning.index) for _, members in groups]
    return [members for members in ordered if len({member.to_name for member in members}) > 1]


def check_together(members: Sequence[ControlSettings]) -> None:
    """Raises ConfigError if controls of one sync group interpret annotations differently."""
    first, names = members[0], " and ".join(repr(member.from_name) for member in members)
    for name in TAKEN_TOGETHER:
        values = [member.parameters[name] for member in members]
        if found := [value for value in values if value != values[0]]:
            raise ConfigError(
                f"controls {names} are learned together (sync {first.sync!r}): expected the same {name} on all of them, found "
                f"{_as_written(values[0])} and {_as_written(found[0])}"
            )
    learned = {label for member in members for label in member.label_names}
    if both := [label for member in members for label in member.unreviewed if label in learned]:
        raise ConfigError(
            f"controls {names} are learned together (sync {first.sync!r}): expected label {both[0]!r} to have the same "
            f"model_role on all of them, found it as unreviewed and as a label that is learned"
        )


def _as_written(value: Any) -> str:
    return "none" if value is None else repr(value)


def training_keys(controls: Sequence[ControlSettings]) -> set[str]:
    """Training keys: ``training_key`` of each single control, and one for each sync group."""
    groups = sync_groups(controls)
    together = {member.from_name for members in groups for member in members}
    alone = {c.training_key() for c in controls if c.trainable and c.from_name not in together}
    return alone | {json.dumps([member.training_key() for member in members]) for members in groups}
