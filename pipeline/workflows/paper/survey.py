"""How far the runs of an experiment are, what is left of them, and why some cannot run."""

from pathlib import Path

import torch

from marr_pipeline.backbone.training.plan import TrainingPlan
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.errors import ConfigError, DataError, PipelineError
from marr_pipeline.progress import duration
from marr_pipeline.workflows.estimate import Pace, training_pace
from marr_pipeline.workflows.paper.images import find_images
from marr_pipeline.workflows.paper.kept import kept_of
from marr_pipeline.workflows.paper.plan import BEGUN, CACHED, MISSING, Planned
from marr_pipeline.workflows.paper.published import Images
from marr_pipeline.workflows.paper.runs import Run, Schedule, read_record
from marr_pipeline.workflows.phase_one import requested_dataset
from marr_pipeline.workflows.request import Listener, PhaseOneRequest
from marr_pipeline.workflows.train import plan_training

TOO_LONG = 14 * 86_400.0
"""Seconds that no run on a CPU is begun for."""


class Survey:
    """Looks how far runs are, and what is left of them takes.

    An image set is listed once, and a kind of network tried once.

    Args:
        schedule: of all runs.
        data_root: folder of the datasets; None where none was given.
        folder: of the runs.
        device: where they would run.
        listing: folder into which archives are unpacked without their content; None unpacks them.
        listener: told of what takes its time.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        data_root: Path | None,
        folder: Path,
        device: torch.device,
        listing: Path | None,
        listener: Listener,
    ) -> None:
        self._schedule = schedule
        self._data_root = data_root
        self._folder = folder
        self._device = device
        self._listing = listing
        self._listener = listener
        self._images: dict[Images, LongTailedDataset | PipelineError] = {}
        self._paces: dict[tuple[object, ...], Pace] = {}

    def look(self, planned: Planned) -> None:
        """Say whether it is done, and else what is left of it or why it cannot run.

        Raises:
            DataError: the folder holds that run by another schedule.
        """
        run, schedule = planned.run, self._schedule
        root = self._data_root or self._folder
        record = read_record(run, planned.keys, schedule, root, self._folder)
        if record is not None and not (planned.needs_cache and not self._has_cache(run)):
            planned.state, planned.record = "done", record
            return
        try:
            planned.data_root = root = self._find(run.images)
            request = run.request(schedule, root)
            dataset = self._listed(run.images, request)
            plan = plan_training(request, is_dry=True, dataset=dataset)
        except (DataError, ConfigError) as error:
            planned.refuse(error)
            return
        kept = kept_of(run, plan, schedule, root, self._folder)
        if kept.is_cached:
            # Rows are cut out by another run's cache, which is a run of the experiment too.
            can_be_scored = run.rows_of is None or self._has_cache(run.of_rarer_images)
            planned.state, planned.seconds = CACHED if can_be_scored else MISSING, 0.0
            return
        pace = self._pace(plan)
        planned.seconds = kept.steps_left * pace.step + kept.rows_left * pace.row
        if kept.text:
            planned.state, planned.kept = BEGUN, kept.text
        if self._device.type == "cpu" and planned.seconds > TOO_LONG:
            long = (
                f"would take about {duration(planned.seconds)} on cpu; it wants a GPU, or --scale"
            )
            planned.refuse(PipelineError(long))

    def _has_cache(self, run: Run) -> bool:
        return (self._folder / f"{run.stem}.h5").exists()

    def _find(self, images: Images) -> Path:
        """Where the dataset is."""
        if self._data_root is None:
            raise ConfigError("no --data-root was given; name the folder of its images")
        verb = "unpacking" if self._listing is None else "listing"
        try:
            return find_images(
                images.dataset,
                self._data_root,
                self._folder / "images",
                listing=self._listing,
                progress=self._listener.progress(f"{verb} {images.dataset}"),
            )
        except DataError as error:
            raise DataError(f"no images: {error}") from error

    def _listed(self, images: Images, request: PhaseOneRequest) -> LongTailedDataset:
        """Its images, none decoded."""
        if images not in self._images:
            try:
                self._images[images] = requested_dataset(request, is_dry=True)
            except DataError as error:
                self._images[images] = DataError(f"no images: {error}")
        found = self._images[images]
        if isinstance(found, PipelineError):
            raise found
        return found

    def _pace(self, plan: TrainingPlan) -> Pace:
        """Losses cost nothing beside their network."""
        shape = plan.dataset.train.image_shape
        key = (type(plan.method), plan.backbone, shape, plan.recipe.batch_size)
        if key not in self._paces:
            self._paces[key] = training_pace(plan, self._device)
        return self._paces[key]
