"""Tasks define what the outputs of a model mean. They return totals, never means, which add up exactly over batches of
any size, accumulation steps and runs; metrics are computed from the totals at the end. Read `task`, then
`classification`.
"""
