"""What stands in for AWS on one machine: Java, the broker, the job supervisor, the warehouse.

Belongs here: processes, ports and files of the local profile. Doesn't belong here: anything that
also runs on AWS (the streaming jobs, the Kafka admin reads, the warehouse client), and Dagster.
"""
