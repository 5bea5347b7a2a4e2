# What Ruby programs do with RabbitMQ, by bunny.

require 'minitest/autorun'
require 'bunny'
require_relative 'broker'

class BunnyTest < Minitest::Test
  def connect(broker = Broker.shared, **options)
    Bunny.new(host: broker.host, port: broker.port, log_level: :fatal, **options).start
  end

  def setup
    @connection = connect
    @channel = @connection.create_channel
  end

  def teardown
    @connection.close if @connection.open?
  end

  # The next message of a queue, acknowledged: [delivery info, properties, body].
  def taken(queue)
    eventually { info = queue.pop and info[0] && info }
  end

  def test_properties_and_headers_come_back
    queue = @channel.queue('', exclusive: true)
    assert_match(/\Aamq\.gen-/, queue.name)
    headers = { 'text' => 'grün'.b, 'number' => 2**40, 'negative' => -7, 'yes' => true, 'float' => 1.5, 'none' => nil,
                'list' => ['a', 1, { 'b' => false }], 'table' => { 'deep' => { 'er' => 1 } } }
    queue.publish('body', persistent: true, priority: 3, correlation_id: 'c', reply_to: 'r', message_id: 'm', type: 't',
                          app_id: 'a', content_type: 'text/x', content_encoding: 'e', timestamp: 1_700_000_000, headers: headers)
    info, properties, body = taken(queue)
    assert_equal ['', queue.name, false], [info[:exchange], info[:routing_key], info[:redelivered]]
    assert_equal 'body', body
    assert_equal headers, properties[:headers]
    names = %i[delivery_mode priority correlation_id reply_to message_id type app_id content_type content_encoding timestamp]
    assert_equal [2, 3, 'c', 'r', 'm', 't', 'a', 'text/x', 'e', Time.at(1_700_000_000)], (names.map { |name| properties[name] })
  end

  def test_every_message_is_confirmed
    @channel.confirm_select
    queue = @channel.queue(unique('confirms'), durable: true)
    500.times { |i| queue.publish(i.to_s, persistent: true) }
    assert @channel.wait_for_confirms
    assert_empty @channel.unconfirmed_set
    assert_equal 500, queue.message_count
    queue.delete
  end

  def test_a_consumer_with_a_prefetch
    @channel.prefetch(10)
    queue = @channel.queue('', exclusive: true)
    got = Queue.new
    consumer = queue.subscribe(manual_ack: true) { |info, _, body| got << [info.delivery_tag, body] }
    50.times { |i| queue.publish(i.to_s) }
    first = Array.new(10) { got.pop }
    # The prefetch is in use: what the broker has left is ready.
    eventually { queue.message_count == 40 }
    assert_empty got
    @channel.ack(first.last[0], true)
    rest = Array.new(40) { |i| got.pop.tap { |tag, _| @channel.ack(tag) } }
    assert_equal (0...50).map(&:to_s), (first + rest).map(&:last)
    consumer.cancel
    assert_equal 0, queue.consumer_count
  end

  def test_what_goes_nowhere_comes_back
    returned = Queue.new
    exchange = @channel.default_exchange
    exchange.on_return { |info, _, body| returned << [info.reply_code, info.reply_text, body] }
    exchange.publish('lost', routing_key: unique('nobody'), mandatory: true)
    assert_equal [312, 'NO_ROUTE', 'lost'], returned.pop
  end

  def test_exchanges_of_all_types
    topic = @channel.topic(unique('topic'), auto_delete: true)
    headers = @channel.headers(unique('headers'), auto_delete: true)
    fanout = @channel.fanout(unique('fanout'), durable: true)
    fanout.bind(topic, routing_key: 'stock.#')
    queue = @channel.queue('', exclusive: true).bind(topic, routing_key: '*.usd.*').bind(fanout)
                    .bind(headers, arguments: { 'x-match' => 'all', 'type' => 'report', 'n' => 1 })
    topic.publish('one', routing_key: 'stock.usd.nyse')
    topic.publish('none', routing_key: 'bond.eur.x')
    headers.publish('two', headers: { 'type' => 'report', 'n' => 1 })
    headers.publish('none', headers: { 'type' => 'report', 'n' => 2 })
    fanout.publish('three')
    assert_equal %w[one two three], Array.new(3) { taken(queue)[2] }
    assert_nil queue.pop[0]
    fanout.delete
  end

  def test_errors_close_the_channel_and_not_the_connection
    assert_raises(Bunny::NotFound) { @channel.queue(unique('missing'), passive: true) }
    assert @channel.closed?
    channel = @connection.create_channel
    queue = @connection.create_channel.queue(unique('same'), durable: true)
    error = assert_raises(Bunny::PreconditionFailed) { channel.queue(queue.name, durable: false) }
    assert_match(/inequivalent arg 'durable' for queue '#{queue.name}'/, error.message)
    other = connect
    exclusive = @connection.create_channel.queue('', exclusive: true)
    assert_raises(Bunny::ResourceLocked) { other.create_channel.queue(exclusive.name, passive: true) }
    other.close
    @connection.create_channel.queue_delete(queue.name)
    assert @connection.open?
    refute @connection.queue_exists?(queue.name)
  end

  def test_a_wrong_password
    assert_raises(Bunny::AuthenticationFailureError) { connect(user: 'guest', password: 'wrong') }
  end

  def test_a_consumer_is_told_that_its_queue_has_gone
    queue = @channel.queue(unique('gone'))
    told = Queue.new
    consumer = Bunny::Consumer.new(@channel, queue)
    consumer.on_cancellation { told << true }
    queue.subscribe_with(consumer)
    @connection.create_channel.queue_delete(queue.name)
    assert told.pop
  end

  def test_rejected_messages_are_dead_letters_on_quorum_queues_too
    dead = @channel.queue('', exclusive: true)
    queue = @channel.queue(unique('quorum'), durable: true, arguments: {
      'x-queue-type' => 'quorum', 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => dead.name, 'x-delivery-limit' => 1
    })
    %w[rejected failing].each { |body| queue.publish(body, persistent: true) }
    @channel.reject(eventually { queue.pop(manual_ack: true)[0] }.delivery_tag, false)
    2.times { @channel.reject(eventually { queue.pop(manual_ack: true)[0] }.delivery_tag, true) }
    letters = Array.new(2) { taken(dead) }
    assert_equal [%w[rejected rejected], %w[failing delivery_limit]], (letters.map { |_, properties, body| [body, properties[:headers]['x-death'][0]['reason']] })
    assert_equal queue.name, letters[0][1][:headers]['x-first-death-queue']
    queue.delete
  end

  def test_requests_with_direct_reply_to
    server = @connection.create_channel
    requests = server.queue('', exclusive: true)
    requests.subscribe { |_, properties, body| server.default_exchange.publish(body.upcase, routing_key: properties.reply_to, correlation_id: properties.correlation_id) }
    answers = Queue.new
    @channel.queue('amq.rabbitmq.reply-to', no_declare: true).subscribe { |_, properties, body| answers << [properties.correlation_id, body] }
    @channel.default_exchange.publish('hello', routing_key: requests.name, reply_to: 'amq.rabbitmq.reply-to', correlation_id: '1')
    assert_equal ['1', 'HELLO'], answers.pop
  end

  def test_transactions
    queue = @channel.queue('', exclusive: true)
    @channel.tx_select
    queue.publish('no')
    @channel.tx_rollback
    queue.publish('yes')
    assert_equal 0, queue.message_count
    @channel.tx_commit
    assert_equal 'yes', taken(queue)[2]
  end

  # bunny reconnects, declares what it had declared and subscribes again.
  def test_recovery_over_kill_9_of_the_broker
    skip 'needs a broker of its own' if Broker.elsewhere?
    broker = Broker.new.start
    connection = connect(broker, network_recovery_interval: 0.1, recover_from_connection_close: true)
    channel = connection.create_channel
    channel.confirm_select
    kept = channel.queue('kept', durable: true)
    temporary = channel.queue('', exclusive: true).bind(channel.fanout('news', durable: true))
    got = Queue.new
    temporary.subscribe { |_, _, body| got << body }
    kept.publish('before', persistent: true)
    assert channel.wait_for_confirms
    broker.kill
    broker.start
    # Its own connection tells when the consumer is back; the library does not.
    other = connect(broker)
    eventually do
      other.create_channel.default_exchange
      other.create_channel.fanout('news', durable: true).publish('again')
      !got.empty?
    end
    assert_equal 'again', got.pop
    assert_equal 'before', taken(other.create_channel.queue('kept', durable: true))[2]
    [other, connection].each(&:close)
    broker.stop
  end
end
