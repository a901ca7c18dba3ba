"""Jobs: what operators ask for and what may take longer than a second.

A job goes on when its caller is gone, is listed under `/v1/jobs` with how far it is, can be given
another rate and be cancelled, and is told to the audit when it has ended. To run a bulk action as
one, a handler of the API does this:

    async def work(course: Course) -> Purged:            # what is answered to who waits
        return Purged.of(await self._admin.purge(which, course=course))

    job = self._jobs.begin(JobKind.PURGE, Action.PURGED, told, work)
    return await self._jobs.answer(asked.request, job)   # the answer, or 202 with the job

and what does the work goes through its items with `course.portions`, or asks `course.turn()` before
each portion and tells `course.did(…)` after it (`queue.admin.course`). It ends by itself, with what
it has done until then, when that says that it is cancelled. A new kind is a line in `JobKind`. The
row of the call has `also=JOB_BEGUN` and says so in the documentation.

What cannot go on without its caller, because the caller's connection is where its bytes go to or
come from (export, import), is listed for as long as it is under way: `with jobs.attached(…)`.
"""
