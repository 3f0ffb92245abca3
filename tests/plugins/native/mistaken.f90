! Sends a field that no study declares: argument `stop` leaves the program to the module, `stat` asks for the error.
program mistaken
    use melissa_like
    implicit none

    type(ml_client) :: client
    real :: height(4)
    integer :: stat
    character(500) :: errmsg
    character(4) :: way

    call get_command_argument(1, way)
    height = 1
    call ml_connect(client)
    if (ml_next_simulation(client)) then
        call ml_step_begin(client, 0)
        if (way == "stop") call ml_send(client, "hieght", height)
        call ml_send(client, "hieght", height, stat=stat, errmsg=errmsg)
        print "(a)", trim(errmsg)
        call ml_close(client)
        stop ml_exit_code(stat), quiet=.true.
    end if
end program mistaken
