"""One gateway worker process: its event loop, its listening socket and its housekeeping.

Owns starting and stopping. All workers listen on the same port; the kernel spreads the connections over them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from email.utils import formatdate

import uvicorn
import uvloop

from infra.acp import clock
from infra.acp.settings import Settings

logger = logging.getLogger(__name__)

BACKLOG = 2_048
KEEP_ALIVE_S = 75
DRAIN_S = 5
SAMPLE_INTERVAL_S = 1.0
#: uvicorn's.
TICKS_PER_S = 10
#: Allocations between two collections of the youngest generation. The requests' objects die by reference count; a
#: collection in the middle of one would only add to its latency.
GC_THRESHOLDS = (50_000, 20, 50)


def main(settings: Settings) -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {settings.process_name} %(levelname)s %(message)s")
    if settings.metrics_dir:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = settings.metrics_dir
    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    # Imported here because the metrics need their directory in the environment first.
    from infra.acp.gateway.agents import reassert_kill_switches
    from infra.acp.gateway.app import Gateway
    from infra.acp.gateway.cork import CorkedHttpProtocol
    from infra.acp.gateway.services import open_services

    async with open_services(settings) as services:
        await reassert_kill_switches(services)
        gateway = Gateway(services)
        config = uvicorn.Config(
            gateway,
            http=CorkedHttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
        server = _Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        async with _housekeeping(services, gateway):
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await server.serve(sockets=[_listen(settings.gateway_host, settings.gateway_port)])
    return 0


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to its process."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield

    def stop(self) -> None:
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Besides uvicorn's own, once a second: the Date header, by the platform's clock."""
        is_over = await super().on_tick(counter)
        if counter % TICKS_PER_S == 0:
            dated = formatdate(clock.now_s(), usegmt=True).encode()
            self.server_state.default_headers = [(b"date", dated), *self.config.encoded_headers]
        return is_over


def _listen(host: str, port: int) -> socket.socket:
    """A socket of this worker's own on the port that all workers share."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


@contextlib.asynccontextmanager
async def _housekeeping(services, gateway) -> AsyncIterator[None]:  # type: ignore[no-untyped-def]
    """Sample this process's gauges once a second, with how late the event loop was; keep up with the chains."""
    from infra.acp.gateway import metrics

    async def sample() -> None:
        loop = asyncio.get_running_loop()
        metrics.sample_start(services.settings.process_name)
        due = loop.time()
        while True:
            due += SAMPLE_INTERVAL_S
            await asyncio.sleep(due - loop.time())
            late_s = max(0.0, loop.time() - due)
            slots = gateway.defects.slots()
            metrics.sample_process(services, slots, gateway.inflight, late_s)
            gateway.defects.give_back()
            if late_s > SAMPLE_INTERVAL_S:
                due = loop.time()

    tasks = [
        asyncio.create_task(sample(), name="housekeeping"),
        asyncio.create_task(gateway.audit.keep_up(), name="verification"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
