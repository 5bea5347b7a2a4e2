<?php
// A Bowline of the tests' own: BOWLINE_BIN names the binary. BOWLINE_AMQP=host:port points the tests at what runs already.

final class Broker
{
    public string $host = '127.0.0.1';
    public int $port;
    private int $kafka;
    private ?string $dir = null;
    private $process = null;
    private array $pipes = [];

    public static function elsewhere(): bool
    {
        return getenv('BOWLINE_AMQP') !== false;
    }

    public function __construct()
    {
        if (self::elsewhere()) {
            [$this->host, $this->port] = explode(':', getenv('BOWLINE_AMQP'));
            return;
        }
        $this->port = self::freePort();
        $this->kafka = self::freePort();
        $this->dir = sys_get_temp_dir() . '/bowline-php-' . bin2hex(random_bytes(6));
        mkdir($this->dir);
        $this->start();
    }

    private static function freePort(): int
    {
        $server = stream_socket_server('tcp://127.0.0.1:0');
        return (int) explode(':', stream_socket_get_name($server, false))[1];
    }

    public function start(): void
    {
        $command = [getenv('BOWLINE_BIN'), 'serve', '--no-probe', '--log-level', 'error', '--data-dir', "{$this->dir}/data",
            '--amqp-addr', "127.0.0.1:{$this->port}", '--kafka-addr', "127.0.0.1:{$this->kafka}"];
        $this->process = proc_open($command, [1 => ['pipe', 'w']], $this->pipes);
        // The first line is printed when the listeners are up.
        $line = fgets($this->pipes[1]);
        if (!str_contains((string) $line, 'is ready')) {
            throw new RuntimeException("bowline did not start: $line");
        }
    }

    public function kill(): void
    {
        proc_terminate($this->process, SIGKILL);
        proc_close($this->process);
    }

    public function stop(): void
    {
        if ($this->process === null) {
            return;
        }
        proc_terminate($this->process, SIGTERM);
        $status = proc_close($this->process);
        exec('rm -rf ' . escapeshellarg($this->dir));
        if ($status !== 0) {
            throw new RuntimeException("bowline ended with $status");
        }
    }
}
