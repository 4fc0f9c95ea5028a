"""A siamese network over syntax trees, assembled for the training loop."""

from __future__ import annotations

import torch

from trainables.code_clones import TRAINABLE, Hparams
from trainables.code_clones.batches import CloneBatch, CloneBatches
from trainables.code_clones.data import load_clones
from trainables.code_clones.metrics import CloneMetrics
from trainables.code_clones.network import TreeEncoder, clone_loss, likenesses
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.rehearsal import building, rehearsing
from trainables.engine.seeds import seed_all
from trainables.engine.supervised import SupervisedTraining


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> SupervisedTraining[CloneBatch]:
    """A siamese network at epoch 0, whose schedule spans `budget.epochs`."""
    data = load_clones(context, vocabulary=hparams.vocabulary)
    seed_all(context.seed)
    with building(context):
        model = TreeEncoder(
            data.num_tokens,
            max(data.splits.score_resolution, data.splits.train_resolution(budget.resolution)),
            width=hparams.width,
            hidden=hparams.hidden,
            heads=hparams.heads,
            layers=hparams.layers,
            features=hparams.features,
            drop_rate=hparams.drop_rate,
        ).to(torch.device(context.device))
    return assemble(
        hparams,
        budget,
        context,
        model=model,
        head=model.head,
        batches=CloneBatches(data, context),
        loss=clone_loss,
        forward=likenesses,
        metrics=CloneMetrics(),
        metric=TRAINABLE.metric,
        mode=TRAINABLE.mode,
        notes=data.notes(),
    )


rehearse = rehearsing(start)
