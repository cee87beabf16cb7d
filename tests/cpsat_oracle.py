"""The planner's oracle, run as a process of its own: CP-SAT on instances read from stdin.

Reads one JSON list of instances `{"devices": […], "models": […], "max_loaded": n or null}` with
whole values; writes one JSON list with, for each, `null` if the pins do not fit, else
`{"objective": [per class, highest first], "optimal": bool, "seconds": s}`.

Sizes should be small numbers, such as MiB: with sizes of 36 bits, CP-SAT 9.15 has called
objectives optimal that a feasible packing exceeds.
"""

import json
import sys
import time

from ortools.sat.python import cp_model


def options(model, devices):
    """The places of a model as device -> bytes, as `warmset.pack` defines them."""
    sizes = [d["bytes"] for d in devices]
    if model.get("device") is not None:
        return [{model["device"]: model["bytes"]}]
    if model.get("splittable") and model["bytes"] > max(sizes):
        parts, passed, given = {}, 0, 0
        for device in devices:
            passed += device["bytes"]
            until = model["bytes"] * passed // sum(sizes)
            parts[device["id"]] = until - given
            given = until
        return [parts]
    return [{d["id"]: model["bytes"]} for d in devices]


def build(instance, levels, reached):
    """The model with the values of earlier classes held, and each class's value as a sum."""
    program = cp_model.CpModel()
    devices, models = instance["devices"], instance["models"]
    loads = {d["id"]: [] for d in devices}
    values = {level: [] for level in levels}
    count = []
    for model in models:
        chosen = []
        for place in options(model, devices):
            if any(size > 0 and d not in loads for d, size in place.items()):
                continue
            var = program.new_bool_var("")
            chosen.append(var)
            for device, size in place.items():
                loads[device].append(size * var)
        values[model["priority"]] += [model["value"] * var for var in chosen]
        count += chosen
        if model.get("pinned"):
            program.add_exactly_one(chosen)
        else:
            program.add_at_most_one(chosen)
    for device in devices:
        program.add(sum(loads[device["id"]]) <= device["bytes"])
    if instance.get("max_loaded") is not None:
        program.add(sum(count) <= instance["max_loaded"])
    for level, value in zip(levels, reached, strict=False):
        program.add(sum(values[level]) >= value)
    return program, values


def solve(instance, seconds):
    """The lexicographic optimum, class by class."""
    levels = sorted({m["priority"] for m in instance["models"]}, reverse=True)
    reached, is_optimal, started = [], True, time.process_time()
    for level in levels:
        program, values = build(instance, levels, reached)
        program.maximize(sum(values[level]))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.max_time_in_seconds = seconds
        status = solver.solve(program)
        if status == cp_model.INFEASIBLE:
            return None
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            return {"objective": reached, "optimal": False, "seconds": seconds}
        is_optimal &= status == cp_model.OPTIMAL
        reached.append(round(solver.objective_value))
    elapsed = time.process_time() - started
    return {"objective": reached, "optimal": is_optimal, "seconds": elapsed}


if __name__ == "__main__":
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    json.dump([solve(instance, limit) for instance in json.load(sys.stdin)], sys.stdout)
