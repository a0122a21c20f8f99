"""What a row that is known only later may do at most."""

from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.change import Delta


def beyond(planned: Delta, now: Delta) -> str:
    """What would be more than the plan said, now that it is known; "" when it is not."""
    if now.verdict is not Verdict.OK:
        return now.reason or "still not known"
    if now.action is Action.NOOP:
        return ""
    agreed = {item.path: item.after for item in planned.fields}
    # A bound without a value (what an operation would do) is open: the operation itself is what was agreed to.
    bound = [item for item in now.fields if item.path not in agreed or agreed[item.path] is not None]
    # What is made anew, at no cost to anybody, also gets what its kind gives to each new one (a file's mode).
    anew = now.action is planned.action is Action.CREATE and now.impact is Impact.NONE
    more = {item.path for item in bound if item.after != agreed.get(item.path, item.after if anew else ...)}
    heavier = now.action in (Action.DELETE, Action.REPLACE) and now.action is not planned.action
    if not more and not heavier and now.impact <= planned.impact:
        return ""
    what = " ".join((now.action.name.lower(), *sorted(more)))
    return f"would {what} ({now.impact}); the plan said at most {planned.action.name.lower()} ({planned.impact})"
