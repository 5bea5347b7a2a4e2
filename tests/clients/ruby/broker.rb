# A Bowline of the tests' own: BOWLINE_BIN names the binary. BOWLINE_AMQP=host:port points the tests at what runs already.

require 'socket'
require 'tmpdir'
require 'fileutils'
require 'securerandom'

class Broker
  attr_reader :host, :port

  def self.free_port
    server = TCPServer.new('127.0.0.1', 0)
    server.addr[1]
  ensure
    server.close
  end

  def self.elsewhere?
    ENV.key?('BOWLINE_AMQP')
  end

  # One for all tests; it ends with them.
  def self.shared
    @shared ||= begin
      broker = elsewhere? ? new(*ENV['BOWLINE_AMQP'].split(':')) : new.start
      Minitest.after_run { broker.stop }
      broker
    end
  end

  def initialize(host = '127.0.0.1', port = Broker.free_port)
    @host, @port = host, port.to_i
    @kafka = Broker.free_port
  end

  def start
    @dir ||= Dir.mktmpdir('bowline-ruby-')
    reader, writer = IO.pipe
    @process = spawn(ENV.fetch('BOWLINE_BIN'), 'serve', '--no-probe', '--log-level', 'error', '--data-dir', "#{@dir}/data",
                     '--amqp-addr', "#{@host}:#{@port}", '--kafka-addr', "127.0.0.1:#{@kafka}", out: writer)
    writer.close
    # The first line is printed when the listeners are up.
    line = reader.gets
    raise "bowline did not start: #{line}" unless line&.include?('is ready')
    Thread.new { reader.each_line {} }
    self
  end

  def kill
    Process.kill(:KILL, @process)
    Process.wait(@process)
  end

  def stop
    return unless @process
    Process.kill(:TERM, @process)
    _, status = Process.wait2(@process)
    FileUtils.rm_rf(@dir)
    raise "bowline ended with #{status}" unless status.success?
  end
end

# Polls until the block gives something true.
def eventually(timeout = 30)
  ending = Process.clock_gettime(Process::CLOCK_MONOTONIC) + timeout
  loop do
    value = yield
    return value if value
    raise 'it never came true' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > ending
    sleep 0.02
  end
end

def unique(what)
  "ruby-#{what}-#{SecureRandom.hex(4)}"
end
