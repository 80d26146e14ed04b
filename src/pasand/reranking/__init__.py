"""Re-ranking stages that keep rules on the recommended list, one per file, and the exact methods behind them."""
