// A Bowline of the tests' own. BOWLINE_BIN names the binary; BOWLINE_AMQP=host:port and BOWLINE_KAFKA=host:port point the
// tests at a running broker instead.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'

async function freePort () {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

export class Broker {
  async start () {
    this.dir ??= await mkdtemp(path.join(os.tmpdir(), 'bowline-node-'))
    this.amqp ??= `127.0.0.1:${await freePort()}`
    this.kafka ??= `127.0.0.1:${await freePort()}`
    this.process = spawn(process.env.BOWLINE_BIN, [
      'serve', '--no-probe', '--data-dir', path.join(this.dir, 'data'), '--amqp-addr', this.amqp, '--kafka-addr', this.kafka,
      '--log-level', 'warn'
    ], { stdio: ['ignore', 'pipe', 'inherit'] })
    // The first line is printed when the listeners are up.
    for await (const line of readline.createInterface({ input: this.process.stdout })) {
      if (!line.includes('is ready')) throw new Error(line)
      break
    }
    this.process.stdout.resume()
    return this
  }

  async end (signal) {
    const exit = once(this.process, 'exit')
    this.process.kill(signal)
    return (await exit)[0]
  }

  async restart () {
    await this.end('SIGKILL')
    return this.start()
  }

  async stop () {
    const code = await this.end('SIGTERM')
    await rm(this.dir, { recursive: true })
    if (code !== 0) throw new Error(`bowline ended with ${code}`)
  }
}

export const elsewhere = process.env.BOWLINE_AMQP || process.env.BOWLINE_KAFKA

export async function startBroker () {
  if (elsewhere) return { amqp: process.env.BOWLINE_AMQP, kafka: process.env.BOWLINE_KAFKA, stop: async () => {} }
  return new Broker().start()
}

let serial = 0
export const unique = (what) => `node-${what}-${process.pid}-${Date.now()}-${serial++}`

/** Polls until check() gives something true. */
export async function eventually (check, timeout = 30_000) {
  const end = Date.now() + timeout
  for (;;) {
    const value = await check()
    if (value) return value
    if (Date.now() > end) throw new Error('it never came true')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
