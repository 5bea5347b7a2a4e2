// What Kafka users do, with kafkajs.

import kafkajs from 'kafkajs'
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Broker, elsewhere, eventually, startBroker, unique } from '../broker.js'

const { CompressionTypes, ConfigResourceTypes, Kafka, logLevel, Partitioners } = kafkajs
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'

const client = (kafka) => new Kafka({ clientId: 'tests', brokers: [kafka], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: 20 } })

let broker, kafka, admin
before(async () => {
  broker = await startBroker()
  kafka = client(broker.kafka)
  admin = kafka.admin()
  await admin.connect()
})
after(async () => {
  await admin.disconnect()
  await broker.stop()
})

async function produce (topic, messages, options = {}, send = {}) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options })
  await producer.connect()
  const result = await producer.send({ topic, messages, ...send })
  await producer.disconnect()
  return result
}

/** n messages of a topic, as a group of its own; leaves the group. */
async function take (topic, n, groupId = unique('group'), kafkaClient = kafka) {
  const consumer = kafkaClient.consumer({ groupId, maxWaitTimeInMs: 300, rebalanceTimeout: 5000, sessionTimeout: 10_000, heartbeatInterval: 300 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const got = []
  await consumer.run({ eachMessage: async ({ partition, message }) => { got.push({ partition, ...message }) } })
  await eventually(() => got.length >= n, 60_000)
  await consumer.disconnect()
  return got
}

test('the tutorial', async () => {
  const topic = unique('tutorial')
  await admin.createTopics({ topics: [{ topic }], waitForLeaders: true })
  const [result] = await produce(topic, [{ value: 'hello' }, { key: 'k', value: null, headers: { h: 'x', many: ['1', '2'] } }])
  assert.equal(result.errorCode, 0)
  assert.equal(result.baseOffset, '0')
  const [first, second] = await take(topic, 2)
  assert.equal(first.value.toString(), 'hello')
  assert.equal(first.key, null)
  assert.equal(second.value, null)
  assert.equal(second.key.toString(), 'k')
  assert.equal(second.headers.h.toString(), 'x')
  assert.deepEqual(second.headers.many.map(String), ['1', '2'])
})

test('a topic is created by its first use', async () => {
  const topic = unique('first-use')
  await produce(topic, [{ value: '1' }])
  assert.equal((await take(topic, 1))[0].value.toString(), '1')
})

test('an idempotent producer and gzip', async () => {
  const topic = unique('idempotent')
  await admin.createTopics({ topics: [{ topic }], waitForLeaders: true })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let i = 0; i < 20; i++) {
    await producer.send({ topic, compression: CompressionTypes.GZIP, messages: [{ value: `${i}-a`.repeat(100) }, { value: `${i}-b` }] })
  }
  await producer.disconnect()
  const got = await take(topic, 40)
  assert.deepEqual(got.map(m => Number(m.offset)), [...Array(40).keys()])
  assert.equal(got[38].value.toString(), '19-a'.repeat(100))
})

test('a group resumes where it committed', async () => {
  const topic = unique('resume')
  const groupId = unique('group')
  await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true })
  await produce(topic, [...Array(30).keys()].map(i => ({ value: String(i), partition: i % 3 })))
  const first = await take(topic, 30, groupId)
  assert.equal(new Set(first.map(m => m.value.toString())).size, 30)
  await produce(topic, [{ value: 'new', partition: 1 }])
  const second = await take(topic, 1, groupId)
  assert.deepEqual(second.map(m => m.value.toString()), ['new'])
  const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.deepEqual(offsets.partitions.map(p => p.offset).sort(), ['10', '10', '11'])
  assert.ok((await admin.listGroups()).groups.some(g => g.groupId === groupId))
  await eventually(async () => (await admin.describeGroups([groupId])).groups[0].state === 'Empty')
  await admin.deleteGroups([groupId])
})

test('two members share the partitions', async () => {
  const topic = unique('share')
  const groupId = unique('group')
  await admin.createTopics({ topics: [{ topic, numPartitions: 4 }], waitForLeaders: true })
  const assigned = [[], []]
  const members = [0, 1].map(() => kafka.consumer({ groupId, maxWaitTimeInMs: 300, rebalanceTimeout: 5000, sessionTimeout: 10_000, heartbeatInterval: 200 }))
  for (const [i, member] of members.entries()) {
    member.on('consumer.group_join', ({ payload }) => { assigned[i] = payload.memberAssignment[topic] ?? [] })
    await member.connect()
    await member.subscribe({ topic, fromBeginning: true })
    await member.run({ eachMessage: async () => {} })
  }
  await eventually(() => assigned[0].length === 2 && assigned[1].length === 2)
  assert.deepEqual([...assigned[0], ...assigned[1]].sort(), [0, 1, 2, 3])
  await members[1].disconnect()
  await eventually(() => assigned[0].length === 4)
  await members[0].disconnect()
})

test('administration', async () => {
  const topic = unique('admin')
  // Too young for retention.
  const recent = Date.now() - 3_600_000
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '3600000' }] }], waitForLeaders: true }), true)
  assert.equal(await admin.createTopics({ topics: [{ topic }] }), false)
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await eventually(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3)
  await produce(topic, [{ value: '1', partition: 0, timestamp: String(recent) }, { value: '2', partition: 0, timestamp: String(recent + 1000) }])
  const offsets = await admin.fetchTopicOffsets(topic)
  assert.deepEqual(offsets.map(o => [o.partition, o.low, o.high]).sort(), [[0, '0', '2'], [1, '0', '0'], [2, '0', '0']])
  const byTime = await admin.fetchTopicOffsetsByTimestamp(topic, recent + 500)
  assert.equal(byTime.find(o => o.partition === 0).offset, '1')
  const { resources } = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }], includeSynonyms: false })
  assert.equal(resources[0].configEntries.find(e => e.configName === 'retention.ms').configValue, '3600000')
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] })
  assert.equal((await admin.fetchTopicOffsets(topic)).find(o => o.partition === 0).low, '1')
  const cluster = await admin.describeCluster()
  assert.equal(cluster.brokers.length, 1)
  await admin.deleteTopics({ topics: [topic] })
  await eventually(async () => !(await admin.listTopics()).includes(topic))
})

test('acknowledged records survive kill -9', { skip: elsewhere && 'needs a broker of its own' }, async () => {
  const own = await new Broker().start()
  const there = client(own.kafka)
  const producer = there.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  await producer.send({ topic: 'kept', acks: -1, messages: [...Array(100).keys()].map(i => ({ value: String(i) })) })
  await own.restart()
  await producer.send({ topic: 'kept', acks: -1, messages: [{ value: '100' }] })
  await producer.disconnect()
  const got = await take('kept', 101, unique('group'), there)
  assert.deepEqual(got.map(m => Number(m.value)), [...Array(101).keys()])
  await own.stop()
})
