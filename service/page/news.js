// What happens, told to whoever wants to hear.

const handlers = new Map()

export function hear(kind, handler) {
	if (!handlers.has(kind)) handlers.set(kind, [])
	handlers.get(kind).push(handler)
}

export function tell(kind, data) {
	for (const handler of handlers.get(kind) || []) handler(data)
}
