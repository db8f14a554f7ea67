"""AMD SEV-SNP: reports, the keys that sign them, and AMD's certificates for those keys.

`sev_snp` is the format. Another format that carries a report reads its pins with `policy`, then
calls `verify.verify_report` and `appraise.appraise_report`.
"""
