"""Conversion of an old labeling config, with the script trick, to a modern one."""

from xml.etree.ElementTree import Comment, Element, tostring

from framewise.core.errors import ConfigError, brief
from framewise.labeling_config import attributes_of, has_dates, parse_xml, separator_of
from framewise.migrate.series import SeriesTag

SYNC = "synced"
MAX_DEPTH = 100
# Controls that apply to any object as a whole: they may stay on what was a HyperText.
WHOLE_OBJECT_CONTROLS = ("Choices", "TextArea", "Rating", "Number", "DateTime", "Taxonomy")


class LabelingConfig:
    """A labeling config to be converted once. Comments are kept, except sample tasks (``{..}``), which have the old form.

    players: field of the task's data -> its <HyperText>. series: name -> <TimeSeries>. Raises ConfigError.
    """

    def __init__(self, xml: str):
        self._root = _parse(xml)
        self._parents = {child: parent for parent in self._root.iter() for child in parent}
        hyper_texts = [(_get(element, "value"), element) for element in self._root.iter("HyperText")]
        self.players = {value[1:]: element for value, element in hyper_texts if value.startswith("$")}
        tags = [_series_tag(element) for element in self._root.iter("TimeSeries")]
        self.series = {tag.name: tag for tag in tags}
        if len(self.series) < len(tags) or len({value for value, _ in hyper_texts}) < len(hyper_texts):
            raise ConfigError("two <TimeSeries> of one name, or two <HyperText> of one value; expected each once")

    def modern_fields(self) -> list[str]:
        """Fields of the players that are already synchronised with a series."""
        groups = {_get(element, "sync") for element in self._root.iter("TimeSeries")} - {""}
        players = [*self._root.iter("Video"), *self._root.iter("Audio")]
        return [_get(element, "value").removeprefix("$") for element in players if _get(element, "sync") in groups]

    def converted(self, field: str, kind: str, frame_rate: str | None, series: str, in_seconds: bool) -> tuple[str, list[str]]:
        """(modern config, lines that describe the changes).

        frame_rate: text to write, for a video. in_seconds: True if the series' times are now in seconds, so that the time
        format must be removed. Raises ConfigError.
        """
        player = self.players[field]
        name = _get(player, "name") or self._free_name(kind)
        self._check_controls(name)
        rate = {"frameRate": frame_rate} if kind == "video" and frame_rate else {}
        modern = Element(kind.capitalize(), {"name": name, "value": f"${field}", **rate, "sync": SYNC})
        changes = [f"<HyperText name={name!r}> becomes {tostring(modern, encoding='unicode')}"]
        self._replace(player, modern)
        (element,) = (e for e in self._root.iter("TimeSeries") if _get(e, "name") == series)
        element.set("sync", SYNC)
        changes.append(f'<TimeSeries name={series!r}> gets sync="{SYNC}"')
        for attribute in ("timeFormat", "timeDisplayFormat") if in_seconds else ():
            if _remove(element, attribute):
                changes.append(f"<TimeSeries name={series!r}> loses {attribute}: its times are seconds now")
        if self._drop_sample_tasks():
            changes.append("a comment with a sample task of the old form is left out")
        return tostring(self._root, encoding="unicode") + "\n", changes

    def _replace(self, old: Element, new: Element) -> None:
        """Replace an element, or insert before the <TimeSeries> that contained it, which may not contain a player."""
        parent = self._parents.get(old)
        if parent is None:
            raise ConfigError("the labeling config is a single <HyperText>; expected it in a <View> with a <TimeSeries>")
        new.tail, place = old.tail, list(parent).index(old)
        parent.remove(old)
        while (inside := self._enclosing_series(parent)) is not None:
            parent, place = self._parents[inside], list(self._parents[inside]).index(inside)
            new.tail = "\n"
        parent.insert(place, new)

    def _enclosing_series(self, element: Element | None) -> Element | None:
        while element is not None and element.tag != "TimeSeries":
            element = self._parents.get(element)
        return element if element in self._parents else None

    def _free_name(self, wanted: str) -> str:
        taken = {_get(element, "name") for element in self._root.iter()}
        return next(n for n in (wanted, *(f"{wanted}{i}" for i in range(2, len(taken) + 3))) if n not in taken)

    def _check_controls(self, player: str) -> None:
        """Raise ConfigError for a control that marks text of the HyperText."""
        for element in self._root.iter():
            if player in _get(element, "toname").split(",") and element.tag not in WHOLE_OBJECT_CONTROLS:
                raise ConfigError(
                    f"<{element.tag} name={_get(element, 'name')!r}> marks text of <HyperText name={player!r}>, which becomes "
                    f"a player; expected only {', '.join(WHOLE_OBJECT_CONTROLS)}: remove it, or keep this project as it is"
                )

    def _drop_sample_tasks(self) -> bool:
        # Comments outside the root are not read at all; Label Studio's guide has a sample there.
        samples = [e for e in self._root.iter(Comment) if (e.text or "").lstrip().startswith("{")]  # type: ignore[arg-type]
        for comment in samples:
            self._parents[comment].remove(comment)
        return bool(samples)


def _parse(xml: str) -> Element:
    root = parse_xml(xml, with_comments=True)
    level, depth = [root], 0
    while level:  # level by level: a million nested tags would exceed the recursion limit
        level, depth = [child for element in level for child in element], depth + 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"the labeling config's tags are nested more than {MAX_DEPTH} deep")
    return root


def _series_tag(element: Element) -> SeriesTag:
    attributes = attributes_of(element)
    name, value = attributes.get("name", ""), attributes.get("value", "")
    if not name or not value.startswith("$"):
        raise ConfigError(f'<TimeSeries name={name!r}>: expected a name and value="$field", found {brief(value)}')
    return SeriesTag(
        name,
        value[1:],
        attributes.get("timecolumn", ""),
        attributes.get("timeformat") or None,
        has_dates(attributes),
        separator_of(attributes.get("sep", "")),
    )


def _get(element: Element, name: str) -> str:
    """Attribute by its lower-case name, "" if missing."""
    return attributes_of(element).get(name, "")


def _remove(element: Element, name: str) -> bool:
    keys = [key for key in element.attrib if key.lower() == name.lower()]
    for key in keys:
        del element.attrib[key]
    return bool(keys)
