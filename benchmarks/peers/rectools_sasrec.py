"""Trains RecTools' SASRec and prints, as JSON, the seconds of each epoch and the validation NDCG@10 after it.

rectools_sasrec.py SOURCE.npz OUT.npy SETTINGS

SOURCE holds the train events as `user` and `item`, in order. If there are queries, it also holds their number
`n_queries`, and the events of their histories, in order, as `query` and `seen` (the item). With `truth`, the target
item of each query, NDCG@10 is measured after every epoch, and training stops after `patience` epochs without a better
one. Without it OUT gets ten items for each query that are not in its history, padded with -1 where RecTools recommends
fewer; or, with `lists`, (queries, K) items padded with -1, the score of each listed item, -inf where RecTools has none.

SETTINGS are JSON: `epochs`, `patience`, `threads`, `seed`, `layers` ("sasrec": the authors' blocks, "pre_norm",
"gated"), `batches`, the number of batches to which an epoch is cut (optional; default: all), and all other parameters
of SASRecModel.
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


class EpochRecorder(Callback):
    """Records the seconds of each epoch, from its first batch to its last, and the validation NDCG@10 after it."""

    def __init__(self, validation, patience):
        self.validation, self.patience, self.seconds, self.cpu, self.curve = validation, patience, [], [], []

    def __deepcopy__(self, memo):
        return self  # RecTools copies its trainer before it fits

    def on_train_epoch_start(self, trainer, module):
        self.began, self.cpu_began = perf_counter(), process_time()

    def on_train_epoch_end(self, trainer, module):
        self.seconds.append(perf_counter() - self.began)
        self.cpu.append(process_time() - self.cpu_began)
        message = f"epoch {len(self.seconds)}: {self.seconds[-1]:.1f} s, {self.cpu[-1]:.1f} s of CPU time"
        if self.validation is not None:
            self.curve.append(self.validation(module))
            module.train()
            message += f", validation ndcg@10 {self.curve[-1]:.4f}"
            trainer.should_stop = 0 < self.patience <= len(self.curve) - 1 - int(np.argmax(self.curve))
        print(message, file=sys.stderr, flush=True)


def data_of(user, item):
    """Return the events as a RecTools dataset, with their order as timestamps."""
    time = pd.to_datetime(np.arange(len(user)), unit="s")
    return Dataset.construct(
        pd.DataFrame({Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: time})
    )


class ValidationNDCG:
    """Computes the NDCG@10 of one target item per query, over the model's whole catalogue without the history."""

    def __init__(self, histories, truth):
        self.histories, self.truth, self.model, self.loader = histories, truth, None, None

    def prepare(self):
        preparator = self.model.data_preparator
        queries = preparator.transform_dataset_u2i(self.histories, self.histories.user_id_map.external_ids)
        self.loader = preparator.get_dataloader_recommend(queries, 256)
        events = queries.interactions.df
        self.row, self.seen = events[Columns.User].to_numpy(), events[Columns.Item].to_numpy()
        codes = pd.Series(preparator.item_id_map.internal_ids, preparator.item_id_map.external_ids)
        targets = self.truth[queries.user_id_map.external_ids]
        self.target = codes.reindex(targets).fillna(0).to_numpy().astype(np.int64)  # 0: padding, never found

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


def list_scores(model, histories, lists):
    """Return the score of each listed item, (queries, K), -inf for queries and items that the model does not know."""
    preparator = model.data_preparator
    queries = preparator.transform_dataset_u2i(histories, histories.user_id_map.external_ids)
    vectors, items = model.lightning_model._get_user_item_embeddings(
        preparator.get_dataloader_recommend(queries, 256), "cpu"
    )
    codes = pd.Series(preparator.item_id_map.internal_ids, preparator.item_id_map.external_ids)
    code = codes.reindex(lists.ravel()).fillna(0).to_numpy().astype(np.int64).reshape(lists.shape)
    row = queries.user_id_map.external_ids.astype(np.int64)
    found = np.full(lists.shape, -np.inf, np.float32)
    scores = np.take_along_axis((vectors @ items.T).numpy(), code[row], axis=1)
    found[row] = np.where(code[row] > 0, scores, -np.inf)  # 0: padding
    return found


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    path, out, options = sys.argv[1:]
    settings, source = json.loads(options), np.load(path)
    epochs, patience, threads = (settings.pop(name) for name in ("epochs", "patience", "threads"))
    batches = settings.pop("batches", None)
    torch.set_num_threads(threads)
    seed_everything(settings.pop("seed"))
    histories = data_of(source["query"], source["seen"]) if "query" in source else None
    validation = ValidationNDCG(histories, source["truth"]) if "truth" in source else None
    recorder = EpochRecorder(validation, patience)

    def trainer():
        return Trainer(
            max_epochs=epochs,
            limit_train_batches=batches,
            callbacks=[recorder],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
            accelerator="cpu",
            devices=1,
        )

    model = SASRecModel(get_trainer_func=trainer, **LAYERS[settings.pop("layers")], **settings)
    if validation is not None:
        validation.model = model
    model.fit(data_of(source["user"], source["item"]))
    if "lists" in source:
        np.save(out, list_scores(model, histories, source["lists"]))
    elif histories is not None and validation is None:
        queries = np.unique(histories.user_id_map.external_ids)
        found = model.recommend(
            users=queries, dataset=histories, k=10, filter_viewed=True, on_unsupported_targets="ignore"
        )
        items = np.full((int(source["n_queries"]), 10), -1, np.int64)
        items[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
        np.save(out, items)
    seconds = {"seconds": recorder.seconds, "cpu_seconds": recorder.cpu}
    print(json.dumps({**seconds, "curve": recorder.curve, "version": version("rectools")}))


main()
