"""What is done with hosts and machines without a blueprint: who owns what, import, retire, power."""
