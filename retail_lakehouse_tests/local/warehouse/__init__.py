"""The stand-in warehouse: wire, SQL, rules, incremental views."""
