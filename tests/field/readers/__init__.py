"""Programs that read what the portal writes: generators of clients, data frames, spreadsheets, secret scanners."""
