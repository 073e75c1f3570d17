timeout 45 python3 dev/perf.py
