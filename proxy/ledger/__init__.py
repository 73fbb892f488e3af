"""The ledger of registrations: written, completed, chained, verified, reconciled, time-stamped; publications too."""
