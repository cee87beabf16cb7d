"""Ollama's rules as pure functions: what it will do, not what would be wise.

The planner, the control step and the twin all use these same functions, so that a plan, the loop
and a simulation can never differ in what they believe of Ollama. Each rule names its source.
"""
