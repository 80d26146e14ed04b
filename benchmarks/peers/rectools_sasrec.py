"""Train RecTools' SASRec and print what came out in JSON: seconds of each epoch, validation NDCG@10 after each.

rectools_sasrec.py SOURCE.npz OUT.npy SETTINGS

SOURCE holds the train events as `user` and `item`, in order, and, where something is asked, `n_questions` and as
`question` and `seen` the items that each question's history holds, in order. With `truth`, the item sought by each
question, NDCG@10 is measured after every epoch and training stops after `patience` epochs without a better one;
without it OUT gets ten items not in its history for each question, -1 where RecTools has nothing to say.

SETTINGS in JSON: `epochs`, `patience`, `threads`, `seed`, `layers` ("sasrec": the authors' blocks, "pre_norm",
"gated"), `batches` to which an epoch is cut (left out: all), and whatever else SASRecModel takes.
"""

import json
import logging
import sys
import warnings
from importlib.metadata import version
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers
from rectools.models.nn.transformers.net_blocks import PreLNTransformerLayers
from rectools.models.nn.transformers.sasrec import SASRecTransformerLayers

LAYERS = {
    "sasrec": {"transformer_layers_type": SASRecTransformerLayers},
    "pre_norm": {"transformer_layers_type": PreLNTransformerLayers},
    "gated": {
        "transformer_layers_type": LiGRLayers,
        "transformer_layers_kwargs": {"ff_activation": "gelu", "bias_in_ff": True},
    },
}


class Watch(Callback):
    """Notes the seconds of each epoch, from its first batch to its last, and asks the questions after it."""

    def __init__(self, ask, patience):
        self.ask, self.patience, self.seconds, self.cpu, self.curve = ask, patience, [], [], []

    def __deepcopy__(self, memo):
        return self  # RecTools copies its trainer before it fits

    def on_train_epoch_start(self, trainer, module):
        self.began, self.cpu_began = perf_counter(), process_time()

    def on_train_epoch_end(self, trainer, module):
        self.seconds.append(perf_counter() - self.began)
        self.cpu.append(process_time() - self.cpu_began)
        told = f"epoch {len(self.seconds)}: {self.seconds[-1]:.1f} s, {self.cpu[-1]:.1f} s of the processor"
        if self.ask is not None:
            self.curve.append(self.ask(module))
            module.train()
            told += f", validation ndcg@10 {self.curve[-1]:.4f}"
            trainer.should_stop = 0 < self.patience <= len(self.curve) - 1 - int(np.argmax(self.curve))
        print(told, file=sys.stderr, flush=True)


def data_of(user, item):
    """Return the events as RecTools has them; their order becomes a time."""
    time = pd.to_datetime(np.arange(len(user)), unit="s")
    return Dataset.construct(
        pd.DataFrame({Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: time})
    )


class TestQueries:
    """Asks the model for the NDCG@10 of one item a question, over its whole catalogue without the history."""

    def __init__(self, asked, truth):
        self.asked, self.truth, self.model, self.loader = asked, truth, None, None

    def prepare(self):
        preparator = self.model.data_preparator
        told = preparator.transform_dataset_u2i(self.asked, self.asked.user_id_map.external_ids)
        self.loader = preparator.get_dataloader_recommend(told, 256)
        events = told.interactions.df
        self.row, self.seen = events[Columns.User].to_numpy(), events[Columns.Item].to_numpy()
        codes = pd.Series(preparator.item_id_map.internal_ids, preparator.item_id_map.external_ids)
        sought = self.truth[told.user_id_map.external_ids]
        self.target = codes.reindex(sought).fillna(0).to_numpy().astype(np.int64)  # 0: padding, never found

    def __call__(self, module):
        if self.loader is None:
            self.prepare()
        queries, items = module._get_user_item_embeddings(self.loader, "cpu")
        scores = (queries @ items.T).numpy()
        target = scores[np.arange(len(scores)), self.target]
        target[self.target == 0] = -np.inf
        scores[self.row, self.seen] = -np.inf
        scores[:, 0] = -np.inf
        rank = (scores > target[:, None]).sum(axis=1)[self.target > 0]
        return float((1 / np.log2(rank[rank < 10] + 2)).sum() / len(self.truth))


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    path, out, told = sys.argv[1:]
    settings, source = json.loads(told), np.load(path)
    epochs, patience, threads = (settings.pop(name) for name in ("epochs", "patience", "threads"))
    batches = settings.pop("batches", None)
    torch.set_num_threads(threads)
    seed_everything(settings.pop("seed"))
    asked = data_of(source["question"], source["seen"]) if "question" in source else None
    ask = TestQueries(asked, source["truth"]) if "truth" in source else None
    watch = Watch(ask, patience)

    def trainer():
        return Trainer(
            max_epochs=epochs,
            limit_train_batches=batches,
            callbacks=[watch],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
            accelerator="cpu",
            devices=1,
        )

    model = SASRecModel(get_trainer_func=trainer, **LAYERS[settings.pop("layers")], **settings)
    if ask is not None:
        ask.model = model
    model.fit(data_of(source["user"], source["item"]))
    if asked is not None and ask is None:
        users = np.unique(asked.user_id_map.external_ids)
        found = model.recommend(users=users, dataset=asked, k=10, filter_viewed=True, on_unsupported_targets="ignore")
        items = np.full((int(source["n_questions"]), 10), -1, np.int64)
        items[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
        np.save(out, items)
    result = {"seconds": watch.seconds, "cpu_seconds": watch.cpu, "curve": watch.curve, "version": version("rectools")}
    print(json.dumps(result))


main()
