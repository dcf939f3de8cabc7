"""Subjects of DreamBooth with Stable Diffusion: is it the subject, and is it what the prompt says?

    python -m experiments.stable_diffusion --pretrained SD --data DREAMBOOTH --dino DINO --clip CLIP
    ... --full     at the size that is meant for an accelerator; without it, in minutes, to see that it works

SD is a folder of diffusers' StableDiffusionPipeline (Stable Diffusion 1.5), DINO one of transformers with a
Dinov2Model, CLIP one with a whole CLIPModel and its tokenizer: weights of your own, nothing is downloaded. DREAMBOOTH
is the folder `dataset` of github.com/google/dreambooth: a sub-folder of four to six pictures for every subject, and
prompts_and_classes.txt, of which the lines "subject,class" are read. A set of your own has the same form.

Every method learns every subject from all its pictures, and draws four pictures of each of the data set's 25 prompts
(those of objects, or for cats and dogs those of live subjects; `PROMPTS`). Measures are those of Ruiz et al. 2023:

    subject    mean cosine of DINO's features between drawn and real pictures of a subject (their "DINO")
    CLIP-I     the same on CLIP's features
    CLIP-T     mean cosine between CLIP's features of drawn pictures and of their prompts, without the subject's word

"real pictures" compares these among themselves, and "source" is the pipeline as it is, told the same prompts. The
paper's DINO is ViT-S/16 of the first DINO and its CLIP ViT-B/32: values with other encoders are on another scale.

Tables have means over subjects, and standard errors over seeds (of one seed, over subjects). A study that was cut off
goes on where it was; results go to runs/ (--out).

--full: 512 x 512 pictures, bfloat16 with recomputed blocks, 800 steps of 2 pictures (adapters of rank 16 at 1e-4,
whole networks at 5e-6, words at 5e-3), priors of 200 pictures, guidance of scale 7.5 and 30 steps, three seeds. By its
operations alone a subject takes a method some minutes on one accelerator; there are 30 subjects and 7 methods, and
`--methods`, `--subjects` and `--seeds` choose a part of them.

This study has not been run at full size: neither weights nor an accelerator were at hand. Its parts are tested: the
networks against diffusers and transformers, the whole on a pipeline of a few thousand random weights.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.adjust import optimised, values
from experiments.command import command
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.pictures import PICTURES, read_picture
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.data.text_images import TextImagesConfig
from tgdp_jax.errors import UserError, choose
from tgdp_jax.interop import ImageEncoder, load_image_encoder
from tgdp_jax.metrics.encoded import unit
from tgdp_jax.metrics.spread import mean_value
from tgdp_jax.runtime.files import write_json
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.latents import encoded, planned
from tgdp_jax.transfer.stages import named_key, rows_done, train_method

ALL = ("source", "textual_inversion", "lora", "dreambooth", "finetune", "domain_guidance", "tgdp_denoising")
REAL = "real pictures"
MEASURES = {"subject": "DINO", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}
WORD, TOKEN = "sks", "<sks>"  # of a subject: one that is known and rare, and a new one
LIVE = ("cat", "dog")
LIST = "prompts_and_classes.txt"
_PLACES = (
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
)
_LOOKS = ("a red {}", "a purple {}", "a shiny {}", "a wet {}", "a cube shaped {}")
# Of objects and of live subjects, as the data set has them.
PROMPTS = {
    False: (
        *_PLACES,
        "a {} with a wheat field in the background",
        "a {} with a tree and autumn leaves in the background",
        "a {} with the Eiffel Tower in the background",
        "a {} floating on top of water",
        "a {} floating in an ocean of milk",
        "a {} on top of green grass with sunflowers around it",
        "a {} on top of a mirror",
        "a {} on top of the sidewalk in a crowded street",
        "a {} on top of a dirt road",
        "a {} on top of a white rug",
        *_LOOKS,
    ),
    True: (
        *_PLACES,
        "a {} wearing a red hat",
        "a {} wearing a santa hat",
        "a {} wearing a rainbow scarf",
        "a {} wearing a black top hat and a monocle",
        "a {} in a chef outfit",
        "a {} in a firefighter outfit",
        "a {} in a police outfit",
        "a {} wearing pink glasses",
        "a {} wearing a yellow shirt",
        "a {} in a purple wizard outfit",
        *_LOOKS,
    ),
}


class Subject(NamedTuple):
    """One subject: the folder of its pictures and what it is, such as dog."""

    folder: Path
    kind: str


def subjects_of(data: Path, names: Sequence[str]) -> list[Subject]:
    """The subjects of a folder, or those of these names.

    Raises:
      UserError: the folder has no list of subjects, or not what it lists.
    """
    path = data / LIST
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder `dataset` of github.com/google/dreambooth")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [line.split(",") for line in lines[: lines.index("Prompts") if "Prompts" in lines else None]]
    known = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0] != "subject_name"}
    if not known:
        raise UserError(f"{path} lists no subjects: give every one a line such as dog6,dog")
    for name in names:
        choose("subject", name, known)
    found = [Subject(data / name, kind) for name, kind in known.items() if not names or name in names]
    for subject in found:
        if not subject.folder.is_dir():
            raise UserError(f"{subject.folder} is missing, which {LIST} lists: fetch the folder again")
    return found


def settings(full: bool) -> dict[str, Any]:
    """Settings of networks, training and samples."""
    given = TextTrainingConfig()
    booth = dataclasses.replace(given.dreambooth, lora=True, num_prior=200 if full else 4)
    if not full:
        few = {"classifier": optimised(given.classifier, steps=20), "guidance": optimised(given.guidance, steps=20)}
        few["head"] = dataclasses.replace(given.head, channels=(8,))
        few["text"] = dataclasses.replace(given.text, num_source=100)
        rival = optimised(given.rival, steps=20, batch_size=2, steps_per_launch=10)
        sampling = dataclasses.replace(given.sampling, steps=4)
        return values(given) | few | {"rival": rival, "sampling": sampling, "dreambooth": booth}
    rival = dataclasses.replace(given.rival, learning_rates=(5e-6,))
    words = dataclasses.replace(given.textual_inversion, learning_rates=(5e-3,))
    return values(given) | {
        "rival": optimised(rival, steps=800, batch_size=2),
        "lora": dataclasses.replace(given.lora, rank=16, alpha=16.0, learning_rates=(1e-4,)),
        "textual_inversion": words,
        "dreambooth": booth,
        "network": dataclasses.replace(given.network, remat=True),
        "sampling": dataclasses.replace(given.sampling, steps=30, chunk=4),
        "precision": "bfloat16",
    }


def run_of(pretrained: Path, subject: Subject, method: str, seed: int, full: bool) -> RunConfig:
    """The run in which a method learns a subject."""
    word = method == "textual_inversion"
    problem = TextImagesConfig(
        target=subject.folder,
        prompt=f"a photo of {TOKEN if word else f'{WORD} {subject.kind}'}",
        class_prompt=f"a photo of {subject.kind}",
        token=TOKEN if word else None,
        initial=subject.kind.split()[-1] if word else None,
        background="white",
    )
    return RunConfig(**{**settings(full), "pretrained": pretrained, "problem": problem}, method=method, seed=seed)


class Told(NamedTuple):
    """A prompt, with the subject's word as the pipeline is told it and without, as the judge is."""

    pipeline: str
    judge: str


def prompts_of(subject: Subject, method: str, num: int) -> list[Told]:
    """The first prompts of a subject."""
    name = TOKEN if method == "textual_inversion" else f"{WORD} {subject.kind}"
    texts = PROMPTS[subject.kind in LIVE][:num]
    return [Told(text.format(name), text.format(subject.kind)) for text in texts]


def with_prompts(problem: Problem, prompts: Sequence[str]) -> tuple[Problem, np.ndarray]:
    """(the problem with prompts among its captions, their labels)."""
    classes = tuple(dict.fromkeys([*problem.classes, *prompts]))
    labels = np.array([classes.index(text) for text in prompts], np.int32)
    return dataclasses.replace(problem, classes=classes, num_classes=len(classes)), labels


def drawn(config: RunConfig, prompts: Sequence[str], each: int, store: Store, display: Display) -> np.ndarray:
    """Pictures [P * each, H, W, 3] of prompts by a method, in [0, 1]."""
    loaded = load_problem(config.problem, n_target=config.n_target, seed=config.seed)
    problem, labels = with_prompts(loaded, prompts)
    identity = problem_identity(config.problem)
    problem = encoded(config, planned(config, problem), identity, store, display)
    trained = train_method(config, problem, identity, config.method, config.seed, store, display)
    labels = np.repeat(labels, each)
    ids, progress = np.arange(len(labels)), rows_done(display, "sampling", len(labels))
    latents = trained.generator.draw(named_key(config.seed, "sample"), ids, labels, progress=progress)
    return problem.scaler.to_user(latents)


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """What pictures of a subject are judged by.

    Attributes:
      dino: encoder of pictures.
      clip: encoder of pictures and texts.
    """

    dino: ImageEncoder
    clip: ImageEncoder

    def real(self, subject: Subject) -> dict[str, float]:
        """How alike the real pictures of a subject are, of which no two are the same."""
        pictures = _real(subject)
        if len(pictures) < 2:
            raise UserError(f"{subject.folder} has {len(pictures)} pictures: at least 2 are needed")
        out = {}
        for name, encoder in (("subject", self.dino), ("clip_i", self.clip)):
            found = unit(encoder.embed(pictures))
            others = found @ found.T
            out[name] = float(others[~np.eye(len(others), dtype=bool)].mean())
        return out

    def measure(self, subject: Subject, pictures: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
        """Measures of drawn pictures [N, H, W, 3] of prompts, N texts."""
        real = _real(subject)
        dino, clip = (unit(encoder.embed(pictures)) for encoder in (self.dino, self.clip))
        return {
            "subject": float((dino @ unit(self.dino.embed(real)).T).mean()),
            "clip_i": float((clip @ unit(self.clip.embed(real)).T).mean()),
            "clip_t": float(np.sum(clip * unit(self.clip.embed_texts(prompts)), -1).mean()),
        }


def _real(subject: Subject) -> list[np.ndarray]:
    files = sorted(file for file in subject.folder.iterdir() if file.suffix.lower() in PICTURES)
    return [read_picture(file, "white") for file in files]


def main(
    pretrained: Path,
    data: Path,
    dino: Path,
    clip: Path,
    methods: tuple[str, ...] = ALL,
    subjects: tuple[str, ...] = (),
    prompts: int = 25,
    each: int = 4,
    seeds: int = 0,
    out: Path = Path("runs"),
    full: bool = False,
) -> None:
    """Every method learns every subject, and is judged by the subject's prompts.

    Args:
      pretrained: folder of a StableDiffusionPipeline of diffusers.
      data: folder of subjects.
      dino: folder of transformers with a Dinov2Model.
      clip: folder of transformers with a whole CLIPModel and its tokenizer.
      methods: names of methods.
      subjects: names of subjects; none for all.
      prompts: how many of the 25 prompts.
      each: pictures of every prompt.
      seeds: seeds 0, 1, ... up to this number; default 1, with --full 3.
      out: folder for the results.
      full: the size for an accelerator.
    """
    for method in methods:
        choose("method", method, METHODS)
    if not 1 <= prompts <= len(PROMPTS[True]) or each < 1:
        raise UserError(f"prompts is {prompts} and each {each}: give 1 to {len(PROMPTS[True])}, and at least 1")
    everyone, number = subjects_of(data, subjects), seeds or (3 if full else 1)
    judges = Judges(load_image_encoder(dino), load_image_encoder(clip, texts=True))
    if judges.clip.text is None:
        raise UserError(f"{clip} reads no texts: give the folder of a whole CLIPModel, with its tokenizer")
    folder = out / f"stable-diffusion-{'full' if full else 'tiny'}"
    store = Store(folder / "checkpoints")
    jobs = [(subject, method, seed) for seed in range(number) for subject in everyone for method in methods]
    found: dict[str, dict[tuple[str, int], dict[str, float]]] = {REAL: {}, **{method: {} for method in methods}}
    with Display() as display:
        for subject in everyone:
            found[REAL][subject.folder.name, 0] = judges.real(subject)
        for count, (subject, method, seed) in enumerate(jobs, 1):
            name = subject.folder.name
            display.prefix = f"[{count}/{len(jobs)}] {name} seed={seed} {method}: "
            path = folder / "cells" / f"{name}-{method}-p{prompts}x{each}-seed{seed}.json"
            if not path.exists():
                told = prompts_of(subject, method, prompts)
                config = run_of(pretrained, subject, method, seed, full)
                pictures = drawn(config, [one.pipeline for one in told], each, store, display)
                measured = judges.measure(subject, pictures, [one.judge for one in told for _ in range(each)])
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, measured)
            found[method][name, seed] = json.loads(path.read_text())
    columns = [Column(key, label, "higher") for key, label in MEASURES.items()]
    rows = [Row(name, averaged(cells), reference=name == REAL) for name, cells in found.items()]
    over = f"{number} seeds" if number > 1 else f"{len(everyone)} subjects"
    print_table(rows, columns, title=f"{pretrained.name}: mean over subjects, and standard error over {over}")
    write_json(folder / "table.json", {row.name: {key: list(cell) for key, cell in row.cells.items()} for row in rows})


def averaged(cells: dict[tuple[str, int], dict[str, float]]) -> dict[str, Cell]:
    """Means of measures by (subject, seed), with the standard error over seeds, or over subjects where there is one."""
    seeds = sorted({seed for _, seed in cells})
    out = {}
    for key in next(iter(cells.values()), {}):
        of_seed = [np.mean([cell[key] for (_, seed), cell in cells.items() if seed == one]) for one in seeds]
        out[key] = Cell(*mean_value(of_seed if len(seeds) > 1 else [cell[key] for cell in cells.values()]))
    return out


if __name__ == "__main__":
    command(main)
