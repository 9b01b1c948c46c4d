SELECT body
FROM daemon_heartbeats
