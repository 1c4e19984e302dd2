# Compiling Zygote's derivatives takes far longer than most trainings. As every kind of layer is differentiated by
# itself, what all networks are made of can be compiled once, when the package is, and is kept with it.
@setup_workload begin
    rows = 16
    x = Float32[mod(7i + 3j, 5) / 4 for i in 1:6, j in 1:rows]
    x[1, :] .= [mod(j, 3) for j in 1:rows]
    classes = Int[mod(j, 2) for j in 1:rows]
    numbers = Float64[sin(j) for j in 1:rows]
    sources = Int32[mod(j, 5) for j in 1:rows]

    function rehearse(build!, dtype, loss, rule; options...)
        blueprint = Blueprint(dtype)
        build!(blueprint)
        plans = layers(blueprint)
        parameters = fill(0.1, length(border_order(plans)))
        statistics = ones(sum(prod, every(AssayTrainer.statistics, plans); init = 0))
        y = loss in ("mse", "huber") ? numbers : classes
        trainer = Trainer(blueprint, parameters, statistics; loss, optimizer = rule, options...)
        order, losses, gram = collect(0:rows-1), zeros(Float32, rows), zeros(2, 2)
        if isnothing(trainer.clipping)
            run!(trainer, x, y, order, [0, 10, rows], [0.01, 0.01], 0, losses, sources)
        else
            run_private!(trainer, x, y, order, 0.01, 0, losses, fill(0.1, length(parameters)))
            run_private!(trainer, x, y, Int[], 0.01, 0, Float32[], fill(0.1, length(parameters)))
        end
        evaluate(trainer, x, y, order, losses)
        gradient_gram!(gram, trainer, x, y, order, [0, 8, rows])
        read_weights!(trainer, parameters, statistics)
        write_weights!(trainer, parameters, statistics)
        write_slots!(trainer, slots(trainer)...)
        return trainer
    end

    """Every layer, and every activation behind a dense one."""
    function everything!(blueprint)
        embedding!(blueprint, 6, 2, (0,), (3,))
        dense!(blueprint, 7, 6, false, "identity")
        for name in sort!(collect(keys(ACTIVATIONS)))
            dense!(blueprint, 6, 6, true, name)
        end
        batch_norm!(blueprint, (6,), 0.1, 1e-5, "identity")
        skip!(blueprint, "add")
        dense!(blueprint, 6, 6, true, "relu")
        dropout!(blueprint, (6,), 0.1)
        done!(blueprint)
        channels!(blueprint)
        unflatten!(blueprint, 12)
        conv!(blueprint, 1, 12, 2, 3, 1, 1, false, "identity")
        batch_norm!(blueprint, (2, 12), 0.1, 1e-5, "tanh")
        flatten!(blueprint, 2, 12)
        dense!(blueprint, 24, 2, true, "identity")
    end

    function channels!(blueprint)
        skip!(blueprint, "concat")
        layer_norm!(blueprint, 6, 1e-5, "identity")
        done!(blueprint)
        unflatten!(blueprint, 12)
        skip!(blueprint, "concat")
        conv!(blueprint, 1, 12, 1, 3, 1, 1, true, "relu")
        done!(blueprint)
        dropout!(blueprint, (2, 12), 0.1)
        max_pool!(blueprint, 2, 12, 2, 2)
        flatten!(blueprint, 2, 6)
    end

    function private!(blueprint)
        embedding!(blueprint, 6, 2, (0,), (3,))
        dense!(blueprint, 7, 6, false, "relu")
        dense!(blueprint, 6, 6, true, "tanh")
        dropout!(blueprint, (6,), 0.1)
        channels!(blueprint)
        dense!(blueprint, 12, 2, true, "identity")
    end

    one!(outputs; bias = true) = blueprint -> dense!(blueprint, 6, outputs, bias, "identity")

    @compile_workload begin
        for dtype in ("float32", "float64")
            for loss in ("logit_cross_entropy", "binary_logit_cross_entropy", "mse", "huber")
                rehearse(one!(loss == "logit_cross_entropy" ? 2 : 1), dtype, loss, adam())
            end
            for decay in (dtype == "float32" ? (0.0, 0.01) : (0.0,))
                for make in (adam, adamw, sgd, rmsprop)
                    rehearse(one!(2), dtype, "logit_cross_entropy", make(; weight_decay = decay))
                end
                for nesterov in (false, true)
                    rule = sgd(; momentum = 0.9, nesterov, weight_decay = decay)
                    rehearse(one!(2), dtype, "logit_cross_entropy", rule; class_weights = (1.0, 2.0))
                end
            end
            trainer = rehearse(everything!, dtype, "logit_cross_entropy", adam())
            mktempdir() do folder
                path = joinpath(folder, "model.jls")
                save_model(trainer, path)
                model = open_model(path)
                describe_model(model)
                model_arrays(model)
                apply_model!(zeros(dtype == "float32" ? Float32 : Float64, 2, rows), model, x)
            end
            rehearse(private!, dtype, "logit_cross_entropy", adam(); clipping = (1.0, 1.0, 8.0))
            rehearse(one!(2; bias = false), dtype, "logit_cross_entropy", adam(); clipping = (1.0, 1.0, 8.0))
            rehearse(one!(2; bias = false), dtype, "logit_cross_entropy", adam())
            for rule in RULES
                rehearse(one!(2), dtype, "logit_cross_entropy", adam(); aggregation = string(rule), byzantine = 1)
            end
        end
        for (array, dtype) in ((classes, "int64"), (numbers, "float64"), (x, "float32"), (sources, "int32"))
            GC.@preserve array borrow(UInt(pointer(array)), dtype, size(array)...)
        end
    end
end
