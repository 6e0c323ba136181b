from optlab.core import *
from optlab.transforms._learning_rate import *
from optlab.transforms._clip_by_global_norm import *
