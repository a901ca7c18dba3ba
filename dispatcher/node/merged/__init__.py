"""What operators see and do, over several partitions as if they were one (`queue.admin.surface`).

A *part* is what speaks for one partition. All of them are in this process now; one that asks
another process would be no different here, which is why nothing is asked without `await`.

    by id           the partition is in the id: one part is asked. `moved` while it is not here,
                    never "not found"
    lists           a page of each part, merged: dead letters by their ordinals, which are instants;
                    waiting messages part by part, as a log has no order with another one
    sums            totals, groups, lanes: what belongs to a destination is the process's already
    changes         part by part, with one `Course`, so that a rate is one for all
    holds           in every part, durable in each
"""
