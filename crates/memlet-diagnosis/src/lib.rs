//! Evidence of a kill in, verdict and remedy out.
