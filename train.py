"""python train.py experiment=exp1_resnet_kl: train a run or, with -m, a sweep of runs."""

from kdbias.start import train

if __name__ == "__main__":
    train()
