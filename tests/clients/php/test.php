<?php
// What PHP programs do with RabbitMQ, by php-amqplib: `php test.php`. One function a test.

require_once 'PhpAmqpLib/autoload.php';
require_once __DIR__ . '/broker.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const SECONDS = 20;

function connect(Broker $broker, string $password = 'guest', int $heartbeat = 0): AMQPStreamConnection
{
    return new AMQPStreamConnection($broker->host, $broker->port, 'guest', $password, '/', false, 'AMQPLAIN', null, 'en_US',
        SECONDS, SECONDS, null, false, $heartbeat);
}

function same(mixed $expected, mixed $actual, string $what = ''): void
{
    if ($expected !== $actual) {
        throw new RuntimeException("$what: expected " . var_export($expected, true) . ' got ' . var_export($actual, true));
    }
}

function unique(string $what): string
{
    return "php-$what-" . bin2hex(random_bytes(4));
}

/** The next message of a queue, acknowledged. */
function taken($channel, string $queue): AMQPMessage
{
    $end = microtime(true) + SECONDS;
    while (($message = $channel->basic_get($queue)) === null) {
        if (microtime(true) > $end) {
            throw new RuntimeException("nothing came to $queue");
        }
        usleep(20000);
    }
    $message->ack();
    return $message;
}

/** The error that a channel is closed with. */
function refusal(callable $act): string
{
    try {
        $act();
    } catch (AMQPProtocolChannelException $error) {
        return $error->getMessage();
    }
    throw new RuntimeException('it was not refused');
}

function test_properties_and_headers_come_back(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    [$queue] = $channel->queue_declare('', false, false, true, false);
    $headers = ['text' => 'grün', 'number' => 5_000_000_000, 'negative' => -7, 'yes' => true, 'nothing' => null,
        'list' => [1, 'a', [2]], 'table' => ['deep' => ['er' => 1]]];
    $properties = ['content_type' => 'text/x', 'content_encoding' => 'e', 'delivery_mode' => 2, 'priority' => 3, 'correlation_id' => 'c',
        'reply_to' => 'r', 'message_id' => 'm', 'timestamp' => 1_700_000_000, 'type' => 't', 'user_id' => 'guest', 'app_id' => 'a'];
    $channel->basic_publish(new AMQPMessage('body', $properties + ['application_headers' => new AMQPTable($headers)]), '', $queue);
    $message = taken($channel, $queue);
    same('body', $message->getBody());
    same($headers, $message->get('application_headers')->getNativeData(), 'headers');
    foreach ($properties as $name => $value) {
        same($value, $message->get($name), $name);
    }
    $connection->close();
}

function test_confirms_nacks_and_returns(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    $channel->confirm_select();
    [$acked, $nacked, $returned] = [[], [], []];
    $channel->set_ack_handler(function (AMQPMessage $m) use (&$acked) { $acked[] = $m->getBody(); });
    $channel->set_nack_handler(function (AMQPMessage $m) use (&$nacked) { $nacked[] = $m->getBody(); });
    $channel->set_return_listener(function ($code, $text, $exchange, $key, AMQPMessage $m) use (&$returned) { $returned[] = [$code, $text, $m->getBody()]; });
    $queue = unique('full');
    $channel->queue_declare($queue, false, true, false, false, false, new AMQPTable(['x-max-length' => 3, 'x-overflow' => 'reject-publish']));
    foreach (range(1, 5) as $i) {
        $channel->basic_publish(new AMQPMessage((string) $i, ['delivery_mode' => 2]), '', $queue);
    }
    $channel->basic_publish(new AMQPMessage('lost'), '', unique('nobody'), true);
    $channel->wait_for_pending_acks_returns(SECONDS);
    same(['1', '2', '3', 'lost'], $acked);
    same(['4', '5'], $nacked);
    same([[312, 'NO_ROUTE', 'lost']], $returned);
    foreach (range(1, 200) as $i) {
        $channel->batch_basic_publish(new AMQPMessage((string) $i), '', unique('nobody'));
    }
    $channel->publish_batch();
    $channel->wait_for_pending_acks(SECONDS);
    same(204, count($acked));
    $channel->queue_delete($queue);
    $connection->close();
}

function test_a_worker_with_a_prefetch(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    [$queue] = $channel->queue_declare('', false, false, true, false);
    foreach (range(1, 20) as $i) {
        $channel->basic_publish(new AMQPMessage((string) $i), '', $queue);
    }
    $channel->basic_qos(0, 5, false);
    $got = [];
    $tag = $channel->basic_consume($queue, 'worker', false, false, false, false, function (AMQPMessage $m) use (&$got) {
        $got[] = $m->getBody();
        $m->getBody() === '1' && !$m->isRedelivered() ? $m->nack(true) : $m->ack();
    });
    same('worker', $tag);
    while (count($got) < 21) {
        $channel->wait(null, false, SECONDS);
    }
    sort($got, SORT_NUMERIC);
    same(['1', '1', '2'], array_slice($got, 0, 3));
    $channel->basic_cancel('worker');
    try {
        $channel->wait(null, false, 0.1);
        throw new RuntimeException('there was more');
    } catch (AMQPTimeoutException) {
    }
    same([$queue, 0, 0], $channel->queue_declare($queue, true));
    $connection->close();
}

function test_exchanges_of_all_types(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    [$queue] = $channel->queue_declare('', false, false, true, false);
    [$topic, $headers, $fanout] = [unique('topic'), unique('headers'), unique('fanout')];
    $channel->exchange_declare($topic, 'topic');
    $channel->exchange_declare($headers, 'headers');
    $channel->exchange_declare($fanout, 'fanout', false, true, false, false, false, new AMQPTable(['alternate-exchange' => $topic]));
    $channel->exchange_bind($fanout, $topic, 'stock.#');
    $channel->queue_bind($queue, $fanout);
    $channel->queue_bind($queue, $headers, '', false, new AMQPTable(['x-match' => 'any', 'n' => 1, 'm' => 2]));
    $channel->basic_publish(new AMQPMessage('one'), $topic, 'stock.usd.nyse');
    $channel->basic_publish(new AMQPMessage('none'), $topic, 'bond');
    $channel->basic_publish(new AMQPMessage('two', ['application_headers' => new AMQPTable(['n' => 5, 'm' => 2])]), $headers);
    same('one', taken($channel, $queue)->getBody());
    same('two', taken($channel, $queue)->getBody());
    same(null, $channel->basic_get($queue));
    foreach ([$topic, $headers, $fanout] as $exchange) {
        $channel->exchange_delete($exchange);
    }
    $connection->close();
}

function test_refusals_close_the_channel_and_not_the_connection(Broker $broker): void
{
    $connection = connect($broker);
    $missing = unique('missing');
    same("NOT_FOUND - no queue '$missing' in vhost '/'", refusal(fn () => $connection->channel()->queue_declare($missing, true)));
    $queue = unique('same');
    $connection->channel()->queue_declare($queue, false, true, false, false, false, new AMQPTable(['x-message-ttl' => 60000]));
    same("PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue '$queue' in vhost '/': received none but current is the value '60000' of type 'signedint'",
        refusal(fn () => $connection->channel()->queue_declare($queue, false, true, false, false)));
    $connection->channel()->queue_delete($queue);
    same(true, $connection->isConnected());
    try {
        connect($broker, 'wrong');
        throw new RuntimeException('let in with a wrong password');
    } catch (AMQPConnectionClosedException $error) {
        same(true, str_contains($error->getMessage(), 'ACCESS_REFUSED - Login was refused'), $error->getMessage());
    }
    $connection->close();
}

function test_retries_through_dead_letters_and_a_ttl(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    [$work, $wait] = [unique('work'), unique('wait')];
    $channel->queue_declare($work, false, true, false, false, false, new AMQPTable(['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => $wait]));
    $channel->queue_declare($wait, false, true, false, false, false,
        new AMQPTable(['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => $work, 'x-message-ttl' => 50]));
    $channel->basic_publish(new AMQPMessage('job', ['delivery_mode' => 2]), '', $work);
    $attempts = 0;
    $channel->basic_consume($work, '', false, false, false, false, function (AMQPMessage $m) use (&$attempts) {
        $deaths = $m->has('application_headers') ? $m->get('application_headers')->getNativeData()['x-death'] : [];
        foreach ($deaths as $death) {
            same($attempts, $death['count'], $death['reason']);
        }
        $attempts++ < 3 ? $m->reject(false) : $m->ack();
    });
    while ($attempts < 4) {
        $channel->wait(null, false, SECONDS);
    }
    $channel->queue_delete($work);
    $channel->queue_delete($wait);
    $connection->close();
}

function test_the_delayed_exchange(Broker $broker): void
{
    if (Broker::elsewhere()) {
        return;
    }
    $connection = connect($broker);
    $channel = $connection->channel();
    $exchange = unique('delayed');
    $channel->exchange_declare($exchange, 'x-delayed-message', false, false, true, false, false, new AMQPTable(['x-delayed-type' => 'direct']));
    [$queue] = $channel->queue_declare('', false, false, true, false);
    $channel->queue_bind($queue, $exchange, 'k');
    $began = microtime(true);
    $channel->basic_publish(new AMQPMessage('later', ['application_headers' => new AMQPTable(['x-delay' => 300])]), $exchange, 'k');
    $channel->basic_publish(new AMQPMessage('now'), $exchange, 'k');
    same('now', taken($channel, $queue)->getBody());
    same('later', taken($channel, $queue)->getBody());
    same(true, microtime(true) - $began >= 0.3);
    $connection->close();
}

function test_a_large_message(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    [$queue] = $channel->queue_declare('', false, false, true, false);
    $body = random_bytes(5_000_000);
    $channel->basic_publish(new AMQPMessage($body), '', $queue);
    same(true, taken($channel, $queue)->getBody() === $body);
    $connection->close();
}

function test_a_consumer_whose_queue_goes(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    $queue = unique('gone');
    $channel->queue_declare($queue);
    $channel->basic_consume($queue, 'tag', false, false, false, false, fn () => null);
    $connection->channel()->queue_delete($queue);
    try {
        $channel->wait(null, false, SECONDS);
        throw new RuntimeException('nobody told');
    } catch (AMQPBasicCancelException $cancelled) {
        same('tag', $cancelled->consumerTag);
    }
    $connection->close();
}

function test_transactions(Broker $broker): void
{
    $connection = connect($broker);
    $channel = $connection->channel();
    [$queue] = $channel->queue_declare('', false, false, true, false);
    $channel->tx_select();
    $channel->basic_publish(new AMQPMessage('no'), '', $queue);
    $channel->tx_rollback();
    $channel->basic_publish(new AMQPMessage('yes'), '', $queue);
    same(null, $channel->basic_get($queue));
    $channel->tx_commit();
    same('yes', taken($channel, $queue)->getBody());
    $connection->close();
}

function test_reconnecting_after_kill_9(Broker $shared): void
{
    if (Broker::elsewhere()) {
        return;
    }
    $broker = new Broker();
    $connection = connect($broker, heartbeat: 10);
    $channel = $connection->channel();
    $channel->confirm_select();
    $channel->queue_declare('kept', false, true, false, false);
    $channel->basic_publish(new AMQPMessage('before', ['delivery_mode' => 2]), '', 'kept');
    $channel->wait_for_pending_acks(SECONDS);
    $broker->kill();
    $broker->start();
    $connection->reconnect();
    same('before', taken($connection->channel(), 'kept')->getBody());
    $connection->close();
    $broker->stop();
}

$broker = new Broker();
[$passed, $failed] = [0, 0];
foreach (get_defined_functions()['user'] as $test) {
    if (!str_starts_with($test, 'test_') || (isset($argv[1]) && !str_contains($test, $argv[1]))) {
        continue;
    }
    try {
        $test($broker);
        $passed++;
    } catch (Throwable $error) {
        $failed++;
        echo "$test: ", get_class($error), ': ', $error->getMessage(), "\n", $error->getTraceAsString(), "\n";
    }
}
$broker->stop();
echo "$passed passed, $failed failed\n";
exit($failed > 0 || $passed === 0 ? 1 : 0);
