"""What controls on media without pictures have in common: trainable mode alone, on rows that need no backbone."""

from framewise.controls.timeline_labels import TimelineLabelsModel
from framewise.core.errors import ConfigError
from framewise.labeling_config import PARAMETERS

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


class WithoutPictures(TimelineLabelsModel):
    """A control on sound or sensors. It learns as a timeline does; its rows are steps of a grid of its own."""

    def check(self) -> None:
        where, parameters = f"<{self.type} name={self.control.from_name!r}>", self.control.parameters
        tag = f"{'an' if self.media_tag[0] in 'AEIOU' else 'a'} <{self.media_tag}>"
        if not self.trainable:
            raise ConfigError(
                f"{where}: simple mode is of pictures, and {tag} has none; set "
                'model_trainable="true", or model_skip="true" to leave it alone'
            )
        if parameters["model_classifier_type"] != "auto":
            raise ConfigError(f"{where}: model_classifier_type must be auto on {tag}")
        for name in ("model_path", "model_crop"):
            if parameters[name] != DEFAULTS[name]:
                raise ConfigError(f"{where}: {name} is of pictures, and {tag} has none; remove it")
