import threading
import time
from concurrent.futures import ThreadPoolExecutor

from retrain import machine
from retrain.machine import MemoryBudget


def most_held(budget, amounts):
    held, most, lock = 0, 0, threading.Lock()

    def work(amount):
        nonlocal held, most
        with budget.hold(amount):
            with lock:
                held += amount
                most = max(most, held)
            time.sleep(0.01)
            with lock:
                held -= amount

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, amounts))
    return most


def test_threads_together_hold_no_more_than_there_is():
    assert most_held(MemoryBudget(100), [30] * 12) <= 100


def test_what_is_larger_is_held_alone():
    assert most_held(MemoryBudget(100), [1000, 5, 5, 1000, 5, 5] * 2) == 1000


def test_a_container_s_limit_is_the_memory_there_is(tmp_path, monkeypatch):
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", (str(tmp_path / "none"), str(tmp_path / "max")))
    whole = machine.memory()
    (tmp_path / "max").write_text("1000000\n")
    assert machine.memory() == 1_000_000 < whole
