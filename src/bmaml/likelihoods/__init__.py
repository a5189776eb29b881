"""Families of outcomes: yes or no, levels, counts, amounts, measurements, and their distribution given one latent number.

A latent number is a sum of functions of the inputs, as in a generalised linear model. A likelihood says how probable an
outcome is given the latent number, and predicts outcomes where the latent number is only known as a normal. A new family is
one file that subclasses `AbstractLikelihood`, and one row in `families.py`. The code here knows no tables, tasks or learners.
"""

from bmaml.likelihoods.base import AbstractLikelihood as AbstractLikelihood
from bmaml.likelihoods.bernoulli import BernoulliLikelihood as BernoulliLikelihood
from bmaml.likelihoods.binomial import BinomialLikelihood as BinomialLikelihood
from bmaml.likelihoods.censored import CensoredLikelihood as CensoredLikelihood
from bmaml.likelihoods.censored import CensoredLogLikelihood as CensoredLogLikelihood
from bmaml.likelihoods.families import FAMILIES as FAMILIES
from bmaml.likelihoods.families import NORMAL as NORMAL
from bmaml.likelihoods.families import Family as Family
from bmaml.likelihoods.families import Side as Side
from bmaml.likelihoods.families import fitted as fitted
from bmaml.likelihoods.gamma import GammaLikelihood as GammaLikelihood
from bmaml.likelihoods.gaussian import KnownErrorLikelihood as KnownErrorLikelihood
from bmaml.likelihoods.gaussian import WeightedLikelihood as WeightedLikelihood
from bmaml.likelihoods.negative_binomial import NegativeBinomialLikelihood as NegativeBinomialLikelihood
from bmaml.likelihoods.ordered import OrderedLikelihood as OrderedLikelihood
from bmaml.likelihoods.poisson import PoissonLikelihood as PoissonLikelihood
from bmaml.likelihoods.student import StudentLikelihood as StudentLikelihood
