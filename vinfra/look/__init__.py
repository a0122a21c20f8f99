"""One look at reality on behalf of a request: what is aimed at, what of that is ours, how its rollouts stand."""
