# frozen_string_literal: true

# tellhal's configuration files, from what recipes and attributes can hold. No gem is needed.
module TellhalCookbook
  # TOML of hashes, lists, strings, numbers and booleans; nil is left out. Keys keep their order, so that the same hash gives
  # the same file.
  module Toml
    HEAD = "# Written by Chef: changes are overwritten by the next run.\n"

    module_function

    # A whole file. Raises ArgumentError, with the key's path, for a value that TOML does not have.
    def render_toml(hash)
      HEAD + table(plain(hash), [])
    end

    # Attributes are no plain hashes.
    def plain(value)
      case value
      when Hash then value.to_h { |key, inner| [key.to_s, plain(inner)] }.compact
      when Array then value.map { |inner| plain(inner) }
      when Symbol then value.to_s
      else value.respond_to?(:to_hash) ? plain(value.to_hash) : value
      end
    end

    # The values of a table come before its tables, since a header ends it.
    def table(hash, path)
      values, tables = hash.partition { |_key, value| !value.is_a?(Hash) && !tables?(value) }
      lines = values.map { |key, value| "#{key(key)} = #{inline(value, path + [key])}\n" }
      lines.join + tables.map { |key, value| section(value, path + [key]) }.join
    end

    def section(value, path)
      header = path.map { |part| key(part) }.join('.')
      return value.map { |inner| "\n[[#{header}]]\n#{table(inner, path)}" }.join if value.is_a?(Array)
      # A table that only holds tables needs no header of its own.
      return table(value, path) if !value.empty? && value.values.all? { |inner| inner.is_a?(Hash) }

      "\n[#{header}]\n#{table(value, path)}"
    end

    def tables?(value)
      value.is_a?(Array) && !value.empty? && value.all?(Hash)
    end

    def inline(value, path)
      case value
      when String then string(value, path)
      when true, false, Integer then value.to_s
      when Float then float(value, path)
      when Array then "[#{value.map { |inner| inline(inner, path) }.join(', ')}]"
      when Hash then "{ #{value.map { |name, inner| "#{key(name)} = #{inline(inner, path + [name])}" }.join(', ')} }"
      else raise ArgumentError, "#{path.join('.')}: TOML has no #{value.class}"
      end
    end

    def float(value, path)
      raise ArgumentError, "#{path.join('.')}: #{value} is no number for a configuration" unless value.finite?

      text = value.to_s
      text.sub(/\A(-?\d+)e/, '\1.0e')
    end

    def key(name)
      name.match?(/\A[A-Za-z0-9_-]+\z/) ? name : string(name, [name])
    end

    def string(text, path)
      text = text.encode(Encoding::UTF_8)
      raise ArgumentError, "#{path.join('.')}: the text is not UTF-8" unless text.valid_encoding?

      # U+007F and all below the space need an escape.
      escaped = text.gsub(/["\\]/) { |char| "\\#{char}" }.gsub(/[\u0000-\u001f\u007f]/) { |char| format('\\u%04X', char.ord) }
      "\"#{escaped}\""
    end
  end
end
