"""The reply ledger: what was asked, what came back, what it cost; nothing is paid twice."""
