"""Encoding models: pure solvers under thin estimators; scikit-learn's is `voxelcast.search.estimator`."""
