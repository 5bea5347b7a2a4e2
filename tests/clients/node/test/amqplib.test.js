// What RabbitMQ users do, with amqplib.

import amqp from 'amqplib'
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Broker, elsewhere, eventually, startBroker, unique } from '../broker.js'

let broker, connection
before(async () => {
  broker = await startBroker()
  connection = await amqp.connect(`amqp://${broker.amqp}`)
})
after(async () => {
  await connection.close()
  await broker.stop()
})

/** n messages from the queue, acknowledged. */
async function drain (channel, queue, n) {
  const got = []
  const { consumerTag } = await channel.consume(queue, message => {
    got.push(message)
    channel.ack(message)
  })
  await eventually(() => got.length >= n)
  await channel.cancel(consumerTag)
  return got
}

test('the tutorial', async () => {
  const queue = unique('tutorial')
  const channel = await connection.createChannel()
  await channel.assertQueue(queue, { durable: true })
  channel.sendToQueue(queue, Buffer.from('hello'), { persistent: true })
  const [message] = await drain(channel, queue, 1)
  assert.equal(message.content.toString(), 'hello')
  assert.equal(message.fields.redelivered, false)
  assert.equal(message.properties.deliveryMode, 2)
  await channel.deleteQueue(queue)
})

test('confirms', async () => {
  const queue = unique('confirms')
  const channel = await connection.createConfirmChannel()
  await channel.assertQueue(queue, { durable: true })
  let confirmed = 0
  for (let i = 0; i < 1000; i++) {
    channel.sendToQueue(queue, Buffer.from(String(i)), { persistent: true }, error => { assert.ifError(error); confirmed++ })
  }
  await channel.waitForConfirms()
  assert.equal(confirmed, 1000)
  assert.equal((await channel.checkQueue(queue)).messageCount, 1000)
  const got = await drain(channel, queue, 1000)
  assert.deepEqual(got.map(m => Number(m.content)), [...Array(1000).keys()])
  await channel.deleteQueue(queue)
})

test('properties and headers', async () => {
  const channel = await connection.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  const headers = { text: 'ü', int: 7, big: 2 ** 40, bool: true, float: 1.5, list: [1, 'a', { b: null }], table: { deep: { er: 1 } }, bytes: Buffer.from([0, 255]) }
  const sent = { contentType: 'a/b', contentEncoding: 'utf-8', priority: 3, correlationId: 'c', replyTo: 'r', messageId: 'm', timestamp: 1700000000, type: 't', userId: 'guest', appId: 'a' }
  channel.sendToQueue(queue, Buffer.alloc(0), { headers, ...sent })
  const [message] = await drain(channel, queue, 1)
  assert.deepEqual(message.properties.headers, headers)
  for (const [key, value] of Object.entries(sent)) assert.deepEqual(message.properties[key], value, key)
})

test('exchanges', async () => {
  const exchange = unique('exchange')
  const channel = await connection.createConfirmChannel()
  await channel.assertExchange(exchange, 'topic', { autoDelete: true })
  await channel.assertExchange(`${exchange}-2`, 'headers', { autoDelete: true })
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, exchange, 'a.*.c')
  await channel.bindExchange(`${exchange}-2`, exchange, '#.h')
  await channel.bindQueue(queue, `${exchange}-2`, '', { 'x-match': 'all', kind: 'yes' })
  channel.publish(exchange, 'a.b.c', Buffer.from('1'))
  channel.publish(exchange, 'a.b.b.c', Buffer.from('2'))
  channel.publish(exchange, 'x.h', Buffer.from('3'), { headers: { kind: 'yes' } })
  channel.publish(exchange, 'x.h', Buffer.from('4'), { headers: { kind: 'no' } })
  await channel.waitForConfirms()
  const got = await drain(channel, queue, 2)
  assert.deepEqual(got.map(m => m.content.toString()), ['1', '3'])
  assert.equal(got[1].fields.routingKey, 'x.h')
})

test('what cannot be routed comes back', async () => {
  const channel = await connection.createConfirmChannel()
  const returned = new Promise(resolve => channel.once('return', resolve))
  channel.publish('', unique('nowhere'), Buffer.from('lost'), { mandatory: true })
  const message = await returned
  assert.equal(message.fields.replyCode, 312)
  assert.equal(message.content.toString(), 'lost')
  await channel.waitForConfirms()
})

test('nack, prefetch and get', async () => {
  const channel = await connection.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  for (let i = 0; i < 10; i++) channel.sendToQueue(queue, Buffer.from(String(i)))
  await channel.prefetch(3)
  const got = []
  const { consumerTag } = await channel.consume(queue, message => got.push(message))
  await eventually(() => got.length === 3)
  channel.nack(got[0], false, true)
  await eventually(() => got.length === 4)
  assert.equal(got[3].content.toString(), '0')
  assert.equal(got[3].fields.redelivered, true)
  await channel.cancel(consumerTag)
  channel.ack(got[3], true)
  const next = await channel.get(queue)
  assert.equal(next.content.toString(), '3')
  channel.reject(next, false)
  assert.equal((await channel.checkQueue(queue)).messageCount, 6)
  assert.equal((await channel.purgeQueue(queue)).messageCount, 6)
  assert.equal(await channel.get(queue), false)
})

test('errors close the channel and name the cause', async () => {
  const queue = unique('missing')
  const channel = await connection.createChannel()
  const closed = new Promise(resolve => channel.once('error', resolve))
  await assert.rejects(channel.checkQueue(queue), /NOT_FOUND/)
  assert.equal((await closed).code, 404)
  const other = await connection.createChannel()
  await other.assertQueue(queue, { durable: true })
  other.once('error', () => {})
  await assert.rejects(other.assertQueue(queue, { durable: false }), /PRECONDITION_FAILED - inequivalent arg 'durable'/)
  const third = await connection.createChannel()
  assert.equal((await third.deleteQueue(queue)).messageCount, 0)
})

test('a consumer is told when its queue goes', async () => {
  const queue = unique('gone')
  const channel = await connection.createChannel()
  await channel.assertQueue(queue, { durable: true })
  const told = new Promise(resolve => channel.consume(queue, resolve))
  await (await connection.createChannel()).deleteQueue(queue)
  assert.equal(await told, null)
})

test('bodies of many frames', async () => {
  const channel = await connection.createConfirmChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  const body = Buffer.alloc(3_000_000, 'bowline')
  channel.sendToQueue(queue, body)
  const [message] = await drain(channel, queue, 1)
  assert.ok(message.content.equals(body))
})

test('a small frame_max', async () => {
  const small = await amqp.connect(`amqp://${broker.amqp}?frameMax=8192`)
  const channel = await small.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  channel.sendToQueue(queue, Buffer.alloc(20_000, 'x'))
  assert.equal((await drain(channel, queue, 1))[0].content.length, 20_000)
  await small.close()
})

test('confirmed messages survive kill -9', { skip: elsewhere && 'needs a broker of its own' }, async () => {
  const own = await new Broker().start()
  const first = await amqp.connect(`amqp://${own.amqp}`)
  first.on('error', () => {})
  const channel = await first.createConfirmChannel()
  await channel.assertQueue('kept', { durable: true })
  for (let i = 0; i < 200; i++) channel.sendToQueue('kept', Buffer.from(String(i)), { persistent: true })
  await channel.waitForConfirms()
  await own.restart()
  const second = await amqp.connect(`amqp://${own.amqp}`)
  const got = await drain(await second.createChannel(), 'kept', 200)
  assert.deepEqual(got.map(m => Number(m.content)), [...Array(200).keys()])
  await second.close()
  await own.stop()
})

// What amqplib's users write around it: on 'close' connect again and take up the work.
test('a worker that reconnects', { skip: elsewhere && 'needs a broker of its own' }, async () => {
  const own = await new Broker().start()
  const got = new Set()
  let current, stopping
  async function work () {
    try {
      current = await amqp.connect(`amqp://${own.amqp}?heartbeat=2`)
    } catch {
      return setTimeout(work, 20)
    }
    current.on('error', () => {})
    current.on('close', () => stopping || setTimeout(work, 20))
    try {
      const channel = await current.createChannel()
      await channel.assertQueue('work', { durable: true, arguments: { 'x-queue-type': 'quorum' } })
      await channel.prefetch(5)
      await channel.consume('work', message => {
        got.add(Number(message.content))
        channel.ack(message)
      })
    } catch {
      // The broker went in the middle of it: 'close' follows.
    }
  }
  await work()
  for (let round = 0; round < 3; round++) {
    const publisher = await amqp.connect(`amqp://${own.amqp}`)
    publisher.on('error', () => {})
    const channel = await publisher.createConfirmChannel()
    for (let i = 0; i < 100; i++) channel.sendToQueue('work', Buffer.from(String(100 * round + i)), { persistent: true })
    await channel.waitForConfirms()
    await own.restart()
  }
  await eventually(() => got.size === 300)
  stopping = true
  await current.close()
  await own.stop()
})
