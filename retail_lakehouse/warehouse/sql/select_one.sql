-- The least that wakes the warehouse.
SELECT 1
